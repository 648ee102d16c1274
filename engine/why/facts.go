package why

import (
	"crypto/sha256"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/solver/pb"
)

// maxValue is how long the value of a fact may be. Of a longer one the beginning and a digest
// are kept, so that two of them are still told apart.
const maxValue = 8 << 10

func bounded(v string) string {
	if len(v) <= maxValue {
		return v
	}
	sum := sha256.Sum256([]byte(v))
	return fmt.Sprintf("%s... (%d bytes, sha256:%x)", strings.ToValidUTF8(v[:maxValue], ""), len(v), sum[:8])
}

// credentials are the user, and the password if there is one, of a URL in a text.
var credentials = regexp.MustCompile(`://[^\s/?#]*@`)

// Redacted is a text without the credentials of the URLs in it.
func Redacted(s string) string {
	if !strings.Contains(s, "://") || !strings.Contains(s, "@") {
		return s
	}
	return credentials.ReplaceAllStringFunc(s, func(found string) string {
		if strings.Contains(found[len("://"):], ":") {
			return "://xxxxx:xxxxx@"
		}
		return "://xxxxx@"
	})
}

// facts collects what a step is told.
type facts []Fact

func (f *facts) add(kind FactKind, name, value string) {
	*f = append(*f, Fact{Kind: kind, Name: name, Value: bounded(Redacted(value))})
}

// addSome adds what is not empty.
func (f *facts) addSome(kind FactKind, name, value string) {
	if value != "" {
		f.add(kind, name, value)
	}
}

// Describe says what an op of LLB does: its kind, what it is told, and what it uses of each of
// its inputs, of which there are so many.
func Describe(op *pb.Op, inputs int) (OpKind, []Fact, [][]Part) {
	var f facts
	parts := make([][]Part, inputs)
	kind := OpOther
	switch k := op.GetOp().(type) {
	case *pb.Op_Source:
		kind = OpSource
		f.source(k.Source)
	case *pb.Op_Exec:
		kind = OpExec
		f.exec(k.Exec)
		mounted(k.Exec, parts)
	case *pb.Op_File:
		kind = OpFile
		for i, a := range k.File.GetActions() {
			f.add(FactAction, strconv.Itoa(i+1), action(a))
		}
		copied(k.File, parts)
	case *pb.Op_Merge:
		kind = OpMerge
	case *pb.Op_Diff:
		kind = OpDiff
	case *pb.Op_Build:
		kind = OpBuild
		f.attrs(k.Build.GetAttrs())
	case *pb.Op_Passthrough:
		kind = OpPassthrough
	}
	if p := op.GetPlatform(); p != nil {
		f.add(FactPlatform, "", platforms.Format(p.Spec()))
	}
	return kind, f, parts
}

// passing are attributes of sources that belong to one request.
var passing = []string{pb.AttrLocalSessionID, pb.AttrLocalUniqueID, pb.AttrSharedKeyHint, pb.AttrOCILayoutSessionID}

func (f *facts) source(s *pb.SourceOp) {
	f.add(FactSource, "", s.GetIdentifier())
	attrs := map[string]string{}
	for k, v := range s.GetAttrs() {
		if !slices.Contains(passing, k) {
			attrs[k] = Redacted(v)
		}
	}
	f.attrs(attrs)
}

func (f *facts) attrs(attrs map[string]string) {
	for _, k := range sortedKeys(attrs) {
		f.add(FactAttr, k, attrs[k])
	}
}

// part is what is used of an input below a path; nothing special for all of it.
func part(p string) Part { return Part{Path: path.Join("/", p)} }

// mounted finds what a process uses of its inputs.
func mounted(e *pb.ExecOp, parts [][]Part) {
	whole := make([]bool, len(parts))
	for _, m := range e.GetMounts() {
		if m.Input < 0 || m.Input >= int64(len(parts)) {
			continue
		}
		p := part(m.Selector)
		whole[m.Input] = whole[m.Input] || p.Path == "/"
		parts[m.Input] = append(parts[m.Input], p)
	}
	allOf(whole, parts)
}

// copied finds what file actions use of inputs.
func copied(f *pb.FileOp, parts [][]Part) {
	whole := make([]bool, len(parts))
	for _, a := range f.GetActions() {
		if a.Input >= 0 && a.Input < int64(len(parts)) {
			whole[a.Input] = true
		}
		c := a.GetCopy()
		if c == nil || a.SecondaryInput < 0 || a.SecondaryInput >= int64(len(parts)) {
			continue
		}
		p := part(c.Src)
		p.Wildcard, p.Include, p.Exclude = c.AllowWildcard, c.IncludePatterns, c.ExcludePatterns
		whole[a.SecondaryInput] = whole[a.SecondaryInput] || p.Path == "/" && len(p.Include) == 0 && len(p.Exclude) == 0
		parts[a.SecondaryInput] = append(parts[a.SecondaryInput], p)
	}
	allOf(whole, parts)
}

// allOf takes out the parts of inputs that are used whole.
func allOf(whole []bool, parts [][]Part) {
	for i := range parts {
		if whole[i] {
			parts[i] = nil
		}
	}
}
