package llb

import (
	"errors"
	"fmt"
	"path"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher"
	mode "github.com/tonistiigi/dchapes-mode"
)

// checkFile checks the actions of a file op. They form a graph of their own: number i
// below the count of inputs is an input, above it the result of an action.
func checkFile(f *pb.FileOp, inputs int) error {
	if len(f.Actions) == 0 {
		return errors.New("it has no actions")
	}
	outs := outputSet{}
	for i, a := range f.Actions {
		if err := checkAction(a, inputs, i, outs); err != nil {
			return fmt.Errorf("action %d: %w", i, err)
		}
	}
	if len(outs) == 0 {
		return errors.New("none of its actions gives an output")
	}
	return outs.complete()
}

func checkAction(a *pb.FileAction, inputs, pos int, outs outputSet) error {
	if a == nil || a.Action == nil {
		return errors.New("this version does not know what it is to do: a newer one may")
	}
	if err := checkActionInput(a.Input, inputs, pos); err != nil {
		return err
	}
	if err := checkActionInput(a.SecondaryInput, inputs, pos); err != nil {
		return fmt.Errorf("secondary input: %w", err)
	}
	if a.Output != int64(pb.SkipOutput) {
		if err := outs.add(a.Output); err != nil {
			return err
		}
	}
	owner, err := checkActionKind(a)
	if err != nil {
		return fmt.Errorf("%s: %w", actionName(a), err)
	}
	for _, u := range []*pb.UserOpt{owner.GetUser(), owner.GetGroup()} {
		if err := checkUser(u, inputs, pos); err != nil {
			return fmt.Errorf("%s: owner: %w", actionName(a), err)
		}
	}
	return nil
}

// checkActionInput checks that an action uses nothing, an input, or the result of an
// earlier action.
func checkActionInput(i int64, inputs, pos int) error {
	if i < int64(pb.Empty) || i >= int64(inputs+pos) {
		return fmt.Errorf("input %d: there are %d inputs and %d actions before it", i, inputs, pos)
	}
	return nil
}

func checkUser(u *pb.UserOpt, inputs, pos int) error {
	by, ok := u.GetUser().(*pb.UserOpt_ByName)
	if !ok {
		return nil
	}
	if by.ByName.GetName() == "" {
		return errors.New("the name is empty")
	}
	if by.ByName.Input == int64(pb.Empty) {
		return fmt.Errorf("%q is to be looked up in the empty tree: use a number", by.ByName.Name)
	}
	return checkActionInput(by.ByName.Input, inputs, pos)
}

func checkActionKind(a *pb.FileAction) (*pb.ChownOpt, error) {
	switch x := a.Action.(type) {
	case *pb.FileAction_Mkdir:
		return x.Mkdir.Owner, checkPath("path", x.Mkdir.Path)
	case *pb.FileAction_Mkfile:
		return x.Mkfile.Owner, checkNotRoot("path", x.Mkfile.Path)
	case *pb.FileAction_Symlink:
		if x.Symlink.Oldpath == "" {
			return nil, errors.New("the link points nowhere")
		}
		if err := checkPath("target", x.Symlink.Oldpath); err != nil {
			return nil, err
		}
		return x.Symlink.Owner, checkNotRoot("path", x.Symlink.Newpath)
	case *pb.FileAction_Rm:
		return nil, checkNotRoot("path", x.Rm.Path)
	case *pb.FileAction_Copy:
		return x.Copy.Owner, checkCopy(x.Copy)
	default:
		return nil, fmt.Errorf("this version does not know actions of type %T", x)
	}
}

func checkNotRoot(what, p string) error {
	if path.Join("/", p) == "/" {
		return fmt.Errorf("%s %q is the root of the tree", what, p)
	}
	return checkPath(what, p)
}

func checkCopy(c *pb.FileActionCopy) error {
	if err := checkPath("source", c.Src); err != nil {
		return err
	}
	if err := checkPath("destination", c.Dest); err != nil {
		return err
	}
	if c.Mode < -1 || c.Mode > 0o7777 {
		return fmt.Errorf("mode %#o is not one of a file; -1 keeps what the source has", c.Mode)
	}
	if c.ModeStr != "" {
		if _, err := mode.ParseWithUmask(c.ModeStr, 0); err != nil {
			return fmt.Errorf("mode %q: %w", c.ModeStr, err)
		}
	}
	if err := checkPatterns(c.IncludePatterns); err != nil {
		return fmt.Errorf("include patterns: %w", err)
	}
	if err := checkPatterns(c.ExcludePatterns); err != nil {
		return fmt.Errorf("exclude patterns: %w", err)
	}
	return nil
}

func checkPatterns(ps []string) error {
	for _, p := range ps {
		if err := checkPath("pattern", p); err != nil {
			return err
		}
	}
	_, err := patternmatcher.New(ps)
	return err
}
