package why

import (
	"fmt"
	"strings"
	"time"

	"github.com/docker/go-units"
)

// String is the cause in one line, without the files.
func (c *Cause) String() string {
	switch c.Kind {
	case First:
		if len(c.Caches) > 0 {
			return "no earlier build that is kept has it, and none of the caches that were asked (" + list(c.Caches) + ")"
		}
		return "no earlier build that is kept has it"
	case Files:
		if c.Missing != "" {
			return fmt.Sprintf("files of %s differ: which ones is not known: %s", c.Name, c.Missing)
		}
		if n := len(c.Files); n == 1 && c.More == 0 {
			return fmt.Sprintf("a file of %s differs: %s", c.Name, oneLine(c.Files[0].String()))
		}
		return fmt.Sprintf("%d changes of files of %s", len(c.Files)+c.More, c.Name)
	case Arg:
		return "build argument " + c.valued()
	case Env:
		return "variable " + c.valued()
	case Command:
		return "the command differs: " + c.replaced()
	case Image, Source:
		return "the " + string(c.Kind) + " " + c.source()
	case Setting:
		return c.valued()
	case InputKind:
		return fmt.Sprintf("it stands on another step: %s → %s", c.Old, c.New)
	case StepKind:
		return "follows " + c.StepName
	case NoCache:
		if c.Name != "" {
			return "its cache is not asked, because of " + c.Name
		}
		return "its cache is not asked, because the request says so"
	case Gone:
		return "an earlier build had the same step with the same inputs, and " + c.asked() + " no record of it any more"
	case Evicted:
		text := fmt.Sprintf("an earlier build had the same step with the same inputs, and its record was removed at %s by %s", c.Old, c.Name)
		if c.Needed > 0 {
			text += fmt.Sprintf(", to free %s", units.HumanSize(float64(c.Needed)))
		}
		return text
	case Unloadable:
		return "a record was found in " + list(c.Caches) + ", and could not be loaded"
	case Lost:
		return "the result was lost while something still needed it"
	case FailedBefore:
		return "an earlier run with the same inputs failed"
	case NotDeterministic:
		return c.StepName + " is not deterministic: its inputs are the same, and what it wrote differs between two runs"
	case Unknown:
		return strings.TrimSpace("it is not known why: " + c.Missing)
	}
	return string(c.Kind)
}

func (c *Cause) asked() string {
	if len(c.Caches) == 0 {
		return "the cache has"
	}
	return "of the caches that were asked (" + list(c.Caches) + ") none has"
}

func list(names []string) string { return strings.Join(names, ", ") }

// valued says how a value with a name changed.
func (c *Cause) valued() string {
	switch {
	case c.Added:
		return fmt.Sprintf("%s is new: %s", c.Name, quoted(c.New))
	case c.Removed:
		return fmt.Sprintf("%s is gone: it was %s", c.Name, quoted(c.Old))
	}
	old, now := around(c.Old, c.New)
	return fmt.Sprintf("%s: %s → %s", c.Name, quoted(old), quoted(now))
}

func (c *Cause) replaced() string {
	if c.Added || c.Removed {
		return quoted(c.Old+c.New) + map[bool]string{true: " is new", false: " is gone"}[c.Added]
	}
	old, now := around(c.Old, c.New)
	return fmt.Sprintf("%s → %s", quoted(old), quoted(now))
}

func (c *Cause) source() string {
	switch {
	case c.Old == "" || c.New == "":
		return c.Name + " differs"
	case c.Name == c.New:
		return fmt.Sprintf("is another one: %s → %s", c.Old, c.New)
	}
	return fmt.Sprintf("%s stands for something else: %s → %s", c.Name, short(c.Old), short(c.New))
}

// short is the beginning of a digest or a commit.
func short(d string) string {
	algorithm, hex, ok := strings.Cut(d, ":")
	if !ok {
		return d[:min(len(d), 12)]
	}
	return algorithm + ":" + hex[:min(len(hex), 12)]
}

// shown is how much of a value is shown, with dots where something is left out.
const shown = 60

// around cuts what two long values have in common, so that the first difference is seen.
func around(a, b string) (string, string) {
	if len(a) <= shown && len(b) <= shown {
		return a, b
	}
	same := 0
	for same < min(len(a), len(b)) && a[same] == b[same] {
		same++
	}
	from := max(0, same-shown/3)
	if at := strings.LastIndexByte(a[:same], ' '); at >= from {
		from = at + 1
	}
	return excerpt(a, from), excerpt(b, from)
}

func excerpt(s string, from int) string {
	out := s[from:]
	if len(out) > shown {
		out = out[:shown] + "..."
	}
	if from > 0 {
		out = "..." + out
	}
	return strings.ToValidUTF8(out, "?")
}

func quoted(s string) string { return fmt.Sprintf("%q", s) }

// oneLine is a text on one line, with single blanks.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// Seconds is a time as progress shows it.
func Seconds(d time.Duration) string { return fmt.Sprintf("%.1fs", d.Seconds()) }
