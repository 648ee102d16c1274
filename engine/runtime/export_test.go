package runtime

// HoldBeginnings lets no run begin until release is called.
func HoldBeginnings() (release func()) {
	resolvConf <- struct{}{}
	return func() { <-resolvConf }
}

// Reachable is reachable.
var Reachable = reachable

// RemoveCgroups is removeCgroups.
var RemoveCgroups = removeCgroups
