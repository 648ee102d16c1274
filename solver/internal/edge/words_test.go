package edge

import (
	"fmt"
	"strconv"
	"strings"
)

// The words of scripts: events and machines, read and written.

func (m *machine) describe() string {
	return fmt.Sprintf("%s, knows %s", m.Stage(), m.known)
}

// parseEvent reads "KIND [INPUT] [LEVEL] [WORD…]".
func parseEvent(words []string, inputs int) (Event, error) {
	var ev Event
	for k, name := range eventNames {
		if name != "" && name == words[0] {
			ev.Kind = EventKind(k)
		}
	}
	if ev.Kind == 0 {
		return ev, fmt.Errorf("no such event")
	}
	for _, w := range words[1:] {
		name, list, _ := strings.Cut(w, "=")
		switch {
		case w == "yes" || w == "unprobed" || w == "ended":
			ev.Flag = true
		case w == "no":
		case w == "more":
			ev.More = true
		case name == "in" || name == "later":
			mask, err := parseManagers(list)
			if err != nil {
				return ev, err
			}
			if name == "in" {
				ev.Mask = mask
			} else {
				ev.Later = mask
			}
		case name == "contents": // inputs
			which, err := numbers(list)
			if err != nil {
				return ev, err
			}
			ev.Contents = make([]bool, inputs)
			for _, i := range which {
				ev.Contents[i] = true
			}
		default:
			if i, err := strconv.Atoi(w); err == nil && i < inputs {
				ev.Input = int32(i)
				continue
			}
			for ev.Level = Nothing; ev.Level.String() != w; ev.Level++ {
				if ev.Level == Result {
					return ev, fmt.Errorf("what is %q?", w)
				}
			}
		}
	}
	return ev, nil
}

func parseManagers(list string) (mask Managers, err error) {
	all, err := numbers(list)
	for _, b := range all {
		mask |= 1 << b
	}
	return mask, err
}

// numbers reads "0,2"; "none" stands for no number.
func numbers(list string) (out []int, err error) {
	if list == "none" {
		return nil, nil
	}
	for _, s := range strings.Split(list, ",") {
		n, err := strconv.Atoi(s)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// eventLine writes what parseEvent reads.
func eventLine(ev Event) string {
	yes := " no"
	if ev.Flag {
		yes = " yes"
	}
	line := ev.Kind.String()
	switch ev.Kind {
	case Want:
		line += " " + ev.Level.String()
	case Mapped:
		if ev.More {
			line += " more"
		}
		if ev.Contents != nil {
			line += " contents=" + listed(ev.Contents)
		}
	case News:
		line += fmt.Sprintf(" %d %s", ev.Input, ev.Level)
		if ev.Flag {
			line += " unprobed"
		}
		if ev.More {
			line += " more"
		}
	case Probed:
		line += fmt.Sprintf(" %d%s", ev.Input, managerList(ev.Mask))
	case Digested:
		line += fmt.Sprintf(" %d%s", ev.Input, yes)
	case Lost:
		line += fmt.Sprintf(" %d", ev.Input)
		if ev.Flag {
			line += " ended"
		}
	case Matched, Joined, Loaded:
		line += yes
	case Added:
		line += managerList(ev.Mask)
		if ev.Later != 0 {
			line += " later=" + listed(ev.Later.bits())
		}
	}
	return line
}

func managerList(mask Managers) string {
	if mask == 0 {
		return ""
	}
	return " in=" + listed(mask.bits())
}

func (m Managers) bits() (out []bool) {
	for ; m != 0; m >>= 1 {
		out = append(out, m&1 != 0)
	}
	return out
}

func listed(set []bool) string {
	var out []string
	for i, b := range set {
		if b {
			out = append(out, fmt.Sprint(i))
		}
	}
	if out == nil {
		return "none"
	}
	return strings.Join(out, ",")
}
