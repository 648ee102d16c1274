// Package local serves the scheme local: directories of the one who asked for the
// build. They are read in place, where that is possible, and what is wanted of them
// is copied into a snapshot.
//
// # The key
//
// A local source is keyed by what it is: by the digest that package contenthash
// gives of the filtered tree, with every owner 0:0, as the tree is in the snapshot.
// Times do not count, though files keep theirs. Sockets are left out. Links stay
// links, wherever they lead. Hard links in the directory are hard links in the
// snapshot.
//
// The store's root is left out, wherever in the directory it is and by whatever path.
// It is written while it is read.
//
// # Never stale
//
// Files are hashed once and remembered by path, device, inode, size, mode and times
// of modification and change, below Store.Path("local"). Everything that changes a
// file sets its time of change to the kernel's clock, which a program cannot turn
// back. A file is remembered only if, when its reading began, that time was past
// for longer than clocks are coarse: so a later change shows. This holds for file
// systems that this machine's kernel keeps itself. On others (NFS, FUSE, 9p) nothing
// is remembered, since their times come from elsewhere. One thing is not seen, here
// as in git: bytes written through a shared memory map after the file was hashed,
// while the kernel has not yet written back what was there before.
//
// What is copied is checked to be what was hashed. A file that changes meanwhile is
// a *ChangedError.
//
// # Directories that are sent
//
// A directory of another machine is sent into its snapshot, before the key is known: files
// are hashed while they arrive. Of what the same sender has sent before, with the same name
// and hint (local.sharedkeyhint), only what has changed since is sent, by mode, attributes,
// size and time of modification. The rest is taken over from the snapshot that was made of
// it, as of a directory in place. A snapshot never changes, so that nothing that a client
// sends later is written to a file that is there, whatever it says that it is a link to. One
// build at a time receives from one sender; afterwards they have a snapshot each, or the same
// one where nothing has changed. A process that has not received a snapshot itself reads it
// once.
//
// # What a snapshot costs
//
// A snapshot takes over from the last one of the same directory what has not changed:
// files of the same path, bytes, mode, attributes and time of modification are hard
// links to those of that one, as long as it is there. All else is copied: what has
// another path or time now, and files with several names in the directory. See
// store.Linker for why that is safe. In a snapshot the number of a file's links thus
// says nothing. Which snapshots were the last is kept below Store.Path("local-last"), also
// of directories that are sent; of others that are not in place nothing is, so that all is
// copied.
package local

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher"
	"github.com/tenonbuild/tenon/engine/session"
	"github.com/tenonbuild/tenon/engine/source"
	"github.com/tenonbuild/tenon/engine/store"
	"github.com/tenonbuild/tenon/internal/regular"
)

const scheme = "local"

// memoryDir and lastDir are where it is kept what is remembered of directories: see
// Store.Path.
const (
	memoryDir = "local"
	lastDir   = "local-last"
)

// Options are what a Source works with. Both are borrowed for its life.
type Options struct {
	Store    *store.Store
	Sessions *session.Sessions
}

// Source is the source of local directories.
type Source struct {
	opt Options
	now func() time.Time // the clock that files are stamped with; set by tests

	mu    sync.Mutex // guards what follows
	turns map[string]*turn
	known knownFiles

	lastMu sync.Mutex // held while a file of last snapshots is read and written
}

var _ source.Source = (*Source)(nil)

// New makes a Source. It needs no closing.
func New(opt Options) *Source {
	s := &Source{opt: opt, now: time.Now, turns: map[string]*turn{}}
	for _, dir := range []string{memoryDir, lastDir} {
		_ = regular.Sweep(opt.Store.Path(dir)) // what stays does no harm
	}
	return s
}

// Schemes is "local".
func (s *Source) Schemes() []string { return []string{scheme} }

// Parse checks an operation. Platform means nothing here.
func (s *Source) Parse(op *pb.SourceOp, _ *pb.Platform) (source.Instance, error) {
	w, err := parse(op)
	if err != nil {
		return nil, fmt.Errorf("source %q: %w", op.GetIdentifier(), err)
	}
	return &instance{source: s, want: w}, nil
}

// wanted is what an operation asks for.
type wanted struct {
	name    string // of the directory, as sessions know it
	hint    string // tells directories of one name apart that are sent
	all     bool   // all is sent, whatever was sent before
	session string // preferred; "" for any
	sender  string // of a directory that is sent: see there
	include []string
	exclude []string
	follow  []string
	// metadata makes one file of what is known of the files, and leaves them out but
	// for those that match full.
	metadata bool
	full     []string
}

func parse(op *pb.SourceOp) (w wanted, err error) {
	name, ok := strings.CutPrefix(op.GetIdentifier(), scheme+"://")
	if !ok || name == "" {
		return w, fmt.Errorf("it should look like %s://NAME", scheme)
	}
	w.name = name
	for k, v := range op.GetAttrs() {
		switch k {
		case pb.AttrLocalSessionID:
			w.session = v
			// A prefix goes to the name: see BuildKit's source/local.
			if prefix, id, ok := strings.Cut(v, ":"); ok {
				w.name, w.session = prefix+"-"+name, id
			}
		case pb.AttrIncludePatterns:
			err = parsePatterns(k, v, &w.include)
		case pb.AttrExcludePatterns:
			err = parsePatterns(k, v, &w.exclude)
		case pb.AttrMetadataTransferExclude:
			err = parsePatterns(k, v, &w.full)
		case pb.AttrFollowPaths:
			err = parseList(k, v, &w.follow)
		case pb.AttrMetadataTransfer:
			if w.metadata, err = strconv.ParseBool(v); err != nil {
				err = fmt.Errorf("attribute %s is %q: it should be true or false", k, v)
			}
		case pb.AttrSharedKeyHint:
			w.hint = v
		case pb.AttrLocalDiffer:
			// How files are compared with those that were sent before.
			w.all = v == pb.AttrLocalDifferNone
			if v != "" && v != pb.AttrLocalDifferNone && v != pb.AttrLocalDifferMetadata {
				err = fmt.Errorf("attribute %s is %q: it should be %q or %q", k, v, pb.AttrLocalDifferNone, pb.AttrLocalDifferMetadata)
			}
		}
		// Whatever else there is (local.unique) says who asks.
		if err != nil {
			return w, err
		}
	}
	return w, nil
}

func parseList(attr, value string, to *[]string) error {
	if err := json.Unmarshal([]byte(value), to); err != nil {
		return fmt.Errorf("attribute %s: it should be a JSON list of strings: %w", attr, err)
	}
	return nil
}

func parsePatterns(attr, value string, to *[]string) error {
	if err := parseList(attr, value, to); err != nil {
		return err
	}
	if _, err := patternmatcher.New(*to); err != nil {
		return fmt.Errorf("attribute %s: %w", attr, err)
	}
	return nil
}
