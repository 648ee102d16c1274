package gateway

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/sys/signal"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The bounds of one stream of ExecProcess.
const (
	maxProcesses = 128     // at a time
	maxWaiting   = 32      // signals and sizes for one process that it has not taken yet
	maxUnread    = 1 << 20 // bytes of input that one process has not read yet
)

// ExecProcess runs processes in the frontend's containers. One stream serves many, by IDs
// that the frontend chose. They end with the stream: nobody reaches them any more.
func (b *Bridge) ExecProcess(stream gwpb.LLBBridge_ExecProcessServer) error {
	ctx, stop := context.WithCancelCause(stream.Context())
	x := &processes{bridge: b, stream: stream, ctx: ctx, byID: map[string]*process{}}
	err := x.receive()
	if err != nil {
		stop(err)
	}
	x.each(func(p *process) { p.stdin.end() })
	x.running.Wait()
	stop(nil)
	return err
}

// processes are those of a stream.
type processes struct {
	bridge  *Bridge
	stream  gwpb.LLBBridge_ExecProcessServer
	ctx     context.Context
	running sync.WaitGroup

	mu    sync.Mutex          // guards what follows
	byID  map[string]*process // nil for those that have ended
	alive int

	sending sync.Mutex // held while a message is sent
}

// process is one that was asked for. Its signals do not wait for it to read its input: they
// come by ways of their own.
type process struct {
	id      string
	of      *processes
	init    *gwpb.InitMessage
	stdin   *unread
	control chan *gwpb.ExecMessage // signals, and sizes of its terminal
	ended   chan struct{}          // closed when it has
}

// receive gives messages to the processes that they are for, until there are no more.
func (x *processes) receive() error {
	for {
		msg, err := x.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := x.take(msg); err != nil {
			return err
		}
	}
}

func (x *processes) take(msg *gwpb.ExecMessage) error {
	id := msg.ProcessID
	if id == "" {
		return status.Error(codes.InvalidArgument, "ProcessID required")
	}
	x.mu.Lock()
	p, known := x.byID[id]
	x.mu.Unlock()
	init := msg.GetInit()
	switch {
	case init != nil && known:
		return status.Errorf(codes.AlreadyExists, "Process %s already exists", id)
	case init != nil:
		return x.begin(id, init)
	case !known:
		return status.Errorf(codes.NotFound, "IO for process %q not found", id)
	}
	if s := msg.GetSignal(); s != nil {
		if _, ok := signal.SignalMap[s.Name]; !ok {
			return status.Errorf(codes.InvalidArgument, "Unknown signal %s", s.Name)
		}
	}
	if p == nil {
		return nil // it has ended: nobody is interested any more
	}
	if f := msg.GetFile(); f != nil {
		p.read(f)
		return nil
	}
	select {
	case p.control <- msg:
	case <-p.ended:
	case <-x.ctx.Done():
		return context.Cause(x.ctx)
	}
	return nil
}

// each calls do with the processes that have not ended.
func (x *processes) each(do func(*process)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, p := range x.byID {
		if p != nil {
			do(p)
		}
	}
}

func (x *processes) begin(id string, init *gwpb.InitMessage) error {
	if init.Meta == nil {
		return status.Error(codes.InvalidArgument, "process meta is required")
	}
	for _, fd := range init.Fds {
		if fd > 2 {
			return status.Errorf(codes.InvalidArgument, "process %s: file descriptor %d cannot be passed: only 0, 1 and 2 can", id, fd)
		}
	}
	ctr, err := x.bridge.container(init.ContainerID)
	if err != nil {
		return err
	}
	p := &process{
		id: id, of: x, init: init, stdin: newUnread(maxUnread),
		control: make(chan *gwpb.ExecMessage, maxWaiting), ended: make(chan struct{}),
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.alive == maxProcesses {
		return status.Errorf(codes.ResourceExhausted, "one stream runs %d processes at a time: wait for one, or open another stream", maxProcesses)
	}
	x.alive++
	x.byID[id] = p
	x.running.Go(func() {
		p.run(ctr)
		x.end(id)
	})
	return nil
}

// end forgets a process that has ended, but for its name: what comes for it is no mistake.
func (x *processes) end(id string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.alive--
	x.byID[id] = nil
}

// run runs the process. The stream's end is what it is told of by errors of sending, and
// has nobody to tell.
func (p *process) run(ctr gwclient.Container) {
	defer close(p.ended)
	defer p.stdin.Close() // so that nobody waits for it to be read
	if p.send(&gwpb.ExecMessage{Input: &gwpb.ExecMessage_Started{Started: &gwpb.StartedMessage{}}}) != nil {
		return
	}
	err := p.wait(ctr)
	for _, fd := range p.init.Fds {
		if fd != 0 {
			_ = p.send(&gwpb.ExecMessage{Input: &gwpb.ExecMessage_File{File: &gwpb.FdMessage{Fd: fd, EOF: true}}})
		}
	}
	_ = p.send(&gwpb.ExecMessage{Input: &gwpb.ExecMessage_Exit{Exit: exit(p.of.ctx, err)}})
	_ = p.send(&gwpb.ExecMessage{Input: &gwpb.ExecMessage_Done{Done: &gwpb.DoneMessage{}}})
}

// wait returns what the process ended with, when all that it wrote was sent.
func (p *process) wait(ctr gwclient.Container) error {
	meta := p.init.Meta
	req := gwclient.StartRequest{
		Args: meta.Args, Env: meta.Env, SecretEnv: p.init.Secretenv, User: meta.User, Cwd: meta.Cwd,
		Tty: p.init.Tty, SecurityMode: p.init.Security, RemoveMountStubsRecursive: meta.RemoveMountStubsRecursive,
	}
	for _, fd := range p.init.Fds {
		switch fd {
		case 0:
			req.Stdin = p.stdin
		case 1:
			req.Stdout = &output{p, fd}
		case 2:
			req.Stderr = &output{p, fd}
		}
	}
	proc, err := ctr.Start(p.of.ctx, req)
	if err != nil {
		return err
	}
	stop := make(chan struct{})
	var telling sync.WaitGroup
	telling.Go(func() { p.tell(proc, stop) })
	err = proc.Wait()
	close(stop)
	telling.Wait()
	return err
}

// read has the process read what comes for it, and waits while too much is unread. What it
// does not take is dropped: it has ended, or closed its input.
func (p *process) read(f *gwpb.FdMessage) {
	if f.GetFd() != 0 || !slices.Contains(p.init.Fds, 0) {
		return
	}
	p.stdin.add(f.Data)
	if f.EOF {
		p.stdin.end()
	}
}

// tell passes on the signals and sizes that come for the process, until it has ended.
func (p *process) tell(proc gwclient.ContainerProcess, stop <-chan struct{}) {
	for {
		select {
		case msg := <-p.control:
			if r := msg.GetResize(); r != nil {
				_ = proc.Resize(p.of.ctx, gwclient.WinSize{Rows: r.GetRows(), Cols: r.GetCols()})
			}
			if s := msg.GetSignal(); s != nil {
				_ = proc.Signal(p.of.ctx, signal.SignalMap[s.GetName()])
			}
		case <-stop:
			return
		}
	}
}

// send sends a message of the process.
func (p *process) send(msg *gwpb.ExecMessage) error {
	msg.ProcessID = p.id
	p.of.sending.Lock()
	defer p.of.sending.Unlock()
	return p.of.stream.Send(msg)
}

// output is a stream of the process's output.
type output struct {
	p  *process
	fd uint32
}

// Write implements io.Writer.
func (o *output) Write(dt []byte) (int, error) {
	for n := 0; n < len(dt); n += maxChunk {
		chunk := dt[n:min(n+maxChunk, len(dt))]
		if err := o.p.send(&gwpb.ExecMessage{Input: &gwpb.ExecMessage_File{File: &gwpb.FdMessage{Fd: o.fd, Data: chunk}}}); err != nil {
			return n, err
		}
	}
	return len(dt), nil
}

// Close implements io.Closer.
func (*output) Close() error { return nil }

// maxChunk is how much of the output one message has.
const maxChunk = 1 << 20

// exit says how a process ended.
func exit(ctx context.Context, err error) *gwpb.ExitMessage {
	if err == nil {
		return &gwpb.ExitMessage{}
	}
	st, _ := status.FromError(grpcerrors.ToGRPC(ctx, err))
	msg := &gwpb.ExitMessage{Code: gwpb.UnknownExitStatus, Error: &spb.Status{
		Code: st.Proto().GetCode(), Message: st.Proto().GetMessage(), Details: st.Proto().GetDetails(),
	}}
	var code *gwpb.ExitError
	if errors.As(err, &code) {
		msg.Code = code.ExitCode
	}
	return msg
}
