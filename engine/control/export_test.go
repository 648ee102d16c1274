package control

import "time"

// SetStatusWait sets how long builds that are not recorded wait for who asks for their status,
// until reset is called.
func SetStatusWait(d time.Duration) (reset func()) {
	was := statusWait
	statusWait = d
	return func() { statusWait = was }
}
