package confine

import "regexp"

// known are the differences that are meant: of which fact, what it is under Tenon,
// and why.
var known = []struct {
	fact, ours *regexp.Regexp
	why        string
}{
	{
		regexp.MustCompile(`^namespace net$`), regexp.MustCompile(`^its own$`),
		"BuildKit's daemon is started with this machine's network here; Tenon's default is a namespace of the step's own",
	},
	{
		regexp.MustCompile(`^mount /sys$`), regexp.MustCompile(`\boptions=ro,.* super=ro$`),
		"/sys is that of the step's own network namespace, and read-only as a whole; in this machine's it is the one that this machine writes",
	},
	{
		regexp.MustCompile(`^(device|mount) /dev/otel-grpc\.sock$|^variable (OTEL_.*|TRACEPARENT)$`), regexp.MustCompile(`^\(nothing\)$`),
		"BuildKit's daemon takes traces from steps, by a socket of this machine's; Tenon lends steps none",
	},
}
