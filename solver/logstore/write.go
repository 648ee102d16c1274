package logstore

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tenonbuild/tenon/solver/internal/keygraph"
)

// log is the file as it is written.
type log struct {
	disk disk
	path string
	f    file
	// size is up to where the file is on the disk; what is behind that does not count.
	size     int64
	sequence uint64
	// compactAt is the size from which on it may be compacted.
	compactAt int64
	// pending are the frames that are not on the disk.
	pending [][]byte
	// unnamed says that the file's name may not last.
	unnamed bool
}

// append writes what is pending to the disk. If that fails, it stays pending.
func (l *log) append() (written int, err error) {
	at, sequence := l.size, l.sequence
	for i, frame := range l.pending {
		sequence++
		seal(frame, sequence, i)
		if _, err := l.f.WriteAt(frame, at); err != nil {
			return 0, errors.Join(err, l.f.Truncate(l.size))
		}
		at += int64(len(frame))
	}
	// Also if a Sync has failed before: then it is written, and synced, again.
	if err := l.f.Sync(); err != nil {
		return 0, err
	}
	if l.unnamed {
		if err := l.disk.syncDir(filepath.Dir(l.path)); err != nil {
			return 0, err
		}
		l.unnamed = false
	}
	written = int(at - l.size)
	l.size, l.sequence, l.pending = at, sequence, nil
	return written, nil
}

// wasteful reports whether more than half of the file is dead weight.
func (l *log) wasteful(g *keygraph.Graph) bool {
	return l.size > l.compactAt && l.size > 2*int64(g.Weight())
}

// compact writes what a graph holds to a new file, which takes the place of the old. It
// returns how much of what its journal collected is in there. Of all else the graph's
// changes while it is copied stay for the next append.
func (l *log) compact(g *keygraph.Graph) (written int, err error) {
	f, err := l.disk.create(l.path)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeFile(f), l.disk.remove(f.Name()))
		}
	}()
	if err := lockFile(f.Name(), f); err != nil {
		return 0, err
	}
	if _, err := f.WriteAt(head(version), 0); err != nil {
		return 0, err
	}
	size, sequence := int64(headSize), uint64(0)
	err = g.Dump(func(frames [][]byte) {
		l.pending = append(l.pending, frames...) // for the old file, should this fail
	}, func(frame []byte) error {
		sequence++
		seal(frame, sequence, 0) // a file that is not complete never gets the name
		_, err := f.WriteAt(frame, size)
		size += int64(len(frame))
		return err
	})
	if err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	// A renaming that fails may have been done.
	if err := l.disk.rename(f.Name(), l.path); err != nil && !isNamed(f, l.path) {
		return 0, err
	}
	_ = closeFile(l.f) // nothing of it is needed any more
	written = length(l.pending)
	l.f, l.size, l.sequence, l.pending = f, size, sequence, nil
	l.compactAt = max(l.compactAt, 2*size)
	// Until the name lasts, nothing that is written counts as written.
	l.unnamed = l.disk.syncDir(filepath.Dir(l.path)) != nil
	return written, nil
}

func newJournal(g *keygraph.Graph) *keygraph.Journal {
	j := &keygraph.Journal{}
	g.Attach(j)
	return j
}

func length(frames [][]byte) (n int) {
	for _, frame := range frames {
		n += len(frame)
	}
	return n
}

// wake is called by the journal at each change.
func (s *Store) wake() {
	if !s.dirty.Swap(true) {
		signal(s.changed)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// maxBackoff bounds how often the time is doubled between attempts that fail.
const maxBackoff = 6

// run writes what changes, until the store is closed.
func (s *Store) run() {
	defer close(s.done)
	failures := 0
	for {
		select {
		case <-s.stop:
			return
		case <-s.hurry:
		case <-s.changed:
			select {
			case <-s.stop:
				return
			case <-s.hurry:
			case <-time.After(s.opt.FlushEvery << min(failures, maxBackoff)):
			}
		}
		failures++
		if s.attempt() {
			failures = 0
		} else {
			signal(s.changed)
		}
	}
}

// attempt writes what waits, and reports whether that succeeded.
func (s *Store) attempt() bool {
	s.mu.Lock()
	s.attempts++
	s.mu.Unlock()
	s.dirty.Store(false)
	upTo, err := s.write()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended, s.lastErr = s.attempts, err
	if err == nil {
		s.durable = upTo
	}
	close(s.progress)
	s.progress = make(chan struct{})
	return err == nil
}

// write writes what waits. It returns how much of the journal is on the disk then.
func (s *Store) write() (upTo uint64, err error) {
	s.writing.Lock()
	defer s.writing.Unlock()
	frames, upTo := s.journal.Take()
	s.log.pending = append(s.log.pending, frames...)
	if len(s.log.pending) > 0 || s.log.unnamed {
		n, err := s.log.append()
		if err != nil {
			return 0, err
		}
		s.journal.Wrote(n)
	}
	if s.log.wasteful(s.Graph()) {
		n, err := s.log.compact(s.Graph())
		if s.journal.Wrote(n); err != nil {
			// Nothing is lost by that. It is tried again when the file has grown.
			s.log.compactAt = s.log.size + s.log.size/4
			s.opt.Warn(fmt.Errorf("logstore: %s: removing dead weight: %w", s.path, err))
		}
	}
	return upTo, nil
}

// Sync waits until everything that was written before it is on the disk. It returns why
// that failed: what could not be written is kept and tried again, at the latest by the
// next Sync. If ctx ends first, Sync returns its error and the writing goes on.
func (s *Store) Sync(ctx context.Context) error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	return s.sync(ctx)
}

func (s *Store) sync(ctx context.Context) error {
	target := s.journal.Written()
	s.mu.Lock()
	before := s.attempts
	for s.durable < target {
		if s.ended > before && s.lastErr != nil {
			err := s.lastErr
			s.mu.Unlock()
			return fmt.Errorf("logstore: %s: %w", s.path, err)
		}
		progress := s.progress
		s.mu.Unlock()
		signal(s.hurry)
		select {
		case <-progress:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		s.mu.Lock()
	}
	s.mu.Unlock()
	return nil
}

// Close writes what waits, and closes the file. If that could not be written it is lost,
// and the error says why. Look-ups go on answering. Closing again does nothing.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	s.journal.Refuse(ErrClosed)
	err := s.sync(context.Background())
	close(s.stop)
	<-s.done
	s.writing.Lock()
	defer s.writing.Unlock()
	if waits := length(s.log.pending); err != nil && waits > 0 {
		err = fmt.Errorf("%w; %d bytes of changes are lost", err, waits)
	}
	return errors.Join(err, closeFile(s.log.f))
}

// Check proves the file as it is on the disk, without what waits: that all of it can be
// read, and what it says agrees with itself. It returns an error that matches
// ErrCorrupt. Look-ups and changes go on meanwhile, writing to the disk waits.
func (s *Store) Check() error {
	s.mu.Lock()
	closed := s.closed
	s.mu.Unlock()
	if closed {
		return ErrClosed
	}
	s.writing.Lock()
	defer s.writing.Unlock()
	return check(s.path, s.log.f, s.log.size)
}

// CheckFile is Check for a file that is not open. An end that is not complete is no
// fault. It changes nothing in the file, and returns the errors of Open as well.
func CheckFile(path string) error {
	f, size, err := openFile(osDisk{}, path)
	if err != nil {
		return err
	}
	return errors.Join(check(path, f, size), closeFile(f))
}

func check(path string, f file, size int64) error {
	g := keygraph.New()
	newJournal(g)
	end, skipped, err := load(f, size, g)
	if err != nil {
		return fmt.Errorf("logstore: %s: %w", path, err)
	}
	detail := ""
	if end.lost > 0 || skipped > 0 {
		detail = fmt.Sprintf("%d bytes cannot be read, %d records name something that is not there", end.lost, skipped)
	} else if err := g.Check(); err != nil {
		detail = err.Error()
	}
	if detail == "" {
		return nil
	}
	return &FileError{Path: path, Kind: ErrCorrupt, Detail: detail, Hint: "open it to keep what can be read"}
}
