package fileop

import "github.com/moby/buildkit/solver/pb"

// step is what is to be done with one action.
type step struct {
	// run: an output depends on it.
	run bool
	// inPlace: it goes on in the tree of the action its input names, which nothing
	// else uses. Otherwise it begins a tree of its own on top of its input.
	inPlace bool
	// commit: its tree is an output, or is used by more than one that would go on in
	// it.
	commit bool
}

// plan decides about each action. Actions use inputs and earlier actions only.
func plan(actions []*pb.FileAction, inputs int) []step {
	steps := make([]step, len(actions))
	uses := make([]int, len(actions))
	for i := len(actions) - 1; i >= 0; i-- {
		a := actions[i]
		output := a.Output != int64(pb.SkipOutput)
		if !output && uses[i] == 0 {
			continue
		}
		steps[i].run = true
		steps[i].commit = output
		for _, n := range used(a) {
			if n >= int64(inputs) {
				uses[n-int64(inputs)]++
			}
		}
	}
	for i, a := range actions {
		if !steps[i].run {
			continue
		}
		for _, n := range used(a) {
			before := n - int64(inputs)
			if before < 0 {
				continue
			}
			if n == a.Input && uses[before] == 1 && !steps[before].commit {
				steps[i].inPlace = true
			} else {
				steps[before].commit = true
			}
		}
	}
	return steps
}

// used lists the trees that an action works with, its own first.
func used(a *pb.FileAction) []int64 {
	ns := []int64{a.Input}
	if a.GetCopy() != nil {
		ns = append(ns, a.SecondaryInput)
	}
	o := owner(a)
	for _, u := range []*pb.UserOpt{o.GetUser(), o.GetGroup()} {
		if by, ok := u.GetUser().(*pb.UserOpt_ByName); ok {
			ns = append(ns, by.ByName.Input)
		}
	}
	return ns
}

// owner returns who is to own what an action makes; nil if it does not say.
func owner(a *pb.FileAction) *pb.ChownOpt {
	switch x := a.Action.(type) {
	case *pb.FileAction_Mkdir:
		return x.Mkdir.Owner
	case *pb.FileAction_Mkfile:
		return x.Mkfile.Owner
	case *pb.FileAction_Symlink:
		return x.Symlink.Owner
	case *pb.FileAction_Copy:
		return x.Copy.Owner
	default:
		return nil
	}
}

// describe names an action for people.
func describe(a *pb.FileAction) string {
	switch x := a.Action.(type) {
	case *pb.FileAction_Mkdir:
		return "mkdir " + x.Mkdir.Path
	case *pb.FileAction_Mkfile:
		return "mkfile " + x.Mkfile.Path
	case *pb.FileAction_Symlink:
		return "symlink " + x.Symlink.Newpath + " -> " + x.Symlink.Oldpath
	case *pb.FileAction_Rm:
		return "rm " + x.Rm.Path
	case *pb.FileAction_Copy:
		return "copy " + x.Copy.Src + " " + x.Copy.Dest
	default:
		return "unknown action"
	}
}
