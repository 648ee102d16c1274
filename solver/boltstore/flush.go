package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
)

// maxRetry is the longest time between two attempts while the disk fails.
const maxRetry = 30 * time.Second

// run starts the runner if there is none. mu is held.
func (s *Store) run() {
	if s.running {
		return
	}
	s.running = true
	s.runner.Go(s.flushPending)
}

// wake makes the runner flush now.
func (s *Store) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// flushPending is the runner: it flushes until nothing is pending.
func (s *Store) flushPending() {
	wait := s.opt.FlushEvery
	for {
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-s.kick:
			timer.Stop()
		case <-s.stop:
			timer.Stop()
			return
		}
		more, err := s.flush()
		if !more {
			return
		}
		if err != nil {
			wait = min(2*wait, maxRetry)
		} else {
			wait = s.opt.FlushEvery
		}
	}
}

// flush commits one layer and says whether there is more to do.
func (s *Store) flush() (more bool, err error) {
	s.mu.Lock()
	if s.frozen == nil {
		if s.active.empty() {
			s.running = false
			s.mu.Unlock()
			return false, nil
		}
		s.frozen = s.active
		s.frozen.upTo = s.written
		s.active = newLayer(s.frozen, min(len(s.frozen.order), 1<<12))
		s.scans = nil
	}
	frozen := s.frozen
	s.attempts++
	s.mu.Unlock()

	err = s.commit(frozen)

	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.durable = frozen.upTo
		s.frozen, s.active.below, s.active.hidden = nil, nil, nil
		s.scans = nil
	}
	s.ended, s.lastErr = s.attempts, err
	close(s.progress)
	s.progress = make(chan struct{})
	more = s.frozen != nil || !s.active.empty()
	s.running = more
	return more, err
}

// commit writes a layer in one bolt transaction.
func (s *Store) commit(l *layer) (err error) {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.broken != nil {
		return s.broken
	}
	// A damaged file makes bolt panic, or read where nothing is mapped.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	tx, err := s.db.Begin(true)
	if err != nil {
		return err
	}
	defer func() {
		if v := recover(); v != nil {
			err = corrupt(s.path, "bolt panicked while it wrote: %v", v)
			s.broken = err
			s.stuck = guard(s.path, tx.Rollback) != nil
		}
	}()
	b := newBatch(tx, s.hash, len(l.order))
	stamp := s.stamp(l)
	format := tx.Bucket(bucketFormat)
	// The commit of an attempt that failed may have taken place nevertheless.
	if done := bytes.Equal(format.Get(keyApplied), stamp); !done {
		if err := b.apply(l); err != nil {
			s.broken = corrupt(s.path, "%v", err)
			return errors.Join(s.broken, tx.Rollback())
		}
		if !b.changed {
			return tx.Rollback()
		}
	}
	if err := format.Put(keyApplied, stamp); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return s.commitTx(tx)
}

// stamp names a layer, in this file, for ever.
func (s *Store) stamp(l *layer) []byte {
	b := binary.BigEndian.AppendUint64(nil, s.session)
	return binary.BigEndian.AppendUint64(b, l.upTo)
}

func (s *Store) commitTx(tx *bolt.Tx) error {
	if hook := s.opt.hooks.beforeCommit; hook != nil {
		if err := hook(); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	// The file grows in steps of a sixteenth.
	s.db.AllocSize = max(minAlloc, int(tx.Size()/16))
	if err := tx.Commit(); err != nil {
		return err
	}
	if hook := s.opt.hooks.afterCommit; hook != nil {
		return hook()
	}
	return nil
}
