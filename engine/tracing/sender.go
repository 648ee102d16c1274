package tracing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

const (
	// maxWaiting is how many bytes of spans wait for the collector. More are dropped.
	maxWaiting = 16 << 20
	// maxBatches is how many times that is.
	maxBatches = 1000
	// lastWords is how long Close takes to send what waits.
	lastWords = 5 * time.Second
)

// Sender sends spans, in the background and in order. Nobody waits for the collector: where it
// does not keep up, spans are dropped. A nil Sender drops all. Its methods may be called
// concurrently.
type Sender struct {
	to     otlptrace.Client
	about  *resourcepb.Resource
	notice func(text string)
	giveUp context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	queue   chan []*tracepb.ResourceSpans // closed by Close
	closed  bool
	waiting int // bytes
	dropped int // spans, since that was last said
}

func newSender(to otlptrace.Client, about *resourcepb.Resource, notice func(text string)) *Sender {
	ctx, giveUp := context.WithCancel(context.Background())
	s := &Sender{
		to: to, about: about, notice: notice, giveUp: giveUp,
		done: make(chan struct{}), queue: make(chan []*tracepb.ResourceSpans, maxBatches),
	}
	go s.run(ctx)
	return s
}

// Send takes spans, which are not to be changed any more, and returns how many are dropped.
func (s *Sender) Send(spans []*tracepb.ResourceSpans) (dropped int) {
	if s == nil || len(spans) == 0 {
		return 0
	}
	size := sizeOf(spans)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.waiting+size <= maxWaiting {
		select {
		case s.queue <- spans:
			s.waiting += size
			return 0
		default:
		}
	}
	n := count(spans)
	s.dropped += n
	return n
}

func (s *Sender) run(ctx context.Context) {
	defer close(s.done)
	failing := false
	for spans := range s.queue {
		err := s.to.UploadTraces(ctx, spans)
		s.mu.Lock()
		s.waiting -= sizeOf(spans)
		dropped := s.dropped
		if err != nil {
			dropped += count(spans)
		}
		// It is said when it begins, and how much it was when it is over.
		begins, over := err != nil && !failing, err == nil && dropped > 0
		if s.dropped = dropped; over {
			s.dropped = 0
		}
		failing = err != nil
		s.mu.Unlock()
		switch {
		case begins:
			s.notice(fmt.Sprintf("spans cannot be sent to the collector of traces: %v", err))
		case over:
			s.notice(fmt.Sprintf("%d spans were dropped: the collector of traces did not take them", dropped))
		}
	}
}

// Close sends what waits, for a short time, and drops the rest.
func (s *Sender) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.queue)
	}
	s.mu.Unlock()
	late := time.AfterFunc(lastWords, s.giveUp)
	<-s.done
	late.Stop()
	s.giveUp()
	ctx, stop := context.WithTimeout(context.Background(), lastWords)
	defer stop()
	if err := s.to.Stop(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the collector of traces: %w", err)
	}
	return nil
}

func sizeOf(spans []*tracepb.ResourceSpans) (n int) {
	for _, r := range spans {
		n += proto.Size(r)
	}
	return n
}

func count(spans []*tracepb.ResourceSpans) (n int) {
	for _, r := range spans {
		for _, s := range r.GetScopeSpans() {
			n += len(s.GetSpans())
		}
	}
	return n
}
