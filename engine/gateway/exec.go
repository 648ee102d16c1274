package gateway

import (
	"context"
	"errors"
	"io"
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
	maxProcesses = 128
	maxWaiting   = 32 // messages to one process that it has not taken yet
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
	for _, p := range x.byID {
		close(p.input)
	}
	x.running.Wait()
	stop(nil)
	return err
}

// processes are those of a stream.
type processes struct {
	bridge  *Bridge
	stream  gwpb.LLBBridge_ExecProcessServer
	ctx     context.Context
	byID    map[string]*process // receive's
	running sync.WaitGroup

	sending sync.Mutex // held while a message is sent
}

// process is one that was asked for.
type process struct {
	id    string
	of    *processes
	init  *gwpb.InitMessage
	input chan *gwpb.ExecMessage // what comes for it; closed when nothing more does
	ended chan struct{}          // closed when it has
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
	p, known := x.byID[id]
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
	select {
	case p.input <- msg:
	case <-p.ended: // nobody is interested any more
	case <-x.ctx.Done():
		return context.Cause(x.ctx)
	}
	return nil
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
	if len(x.byID) == maxProcesses {
		return status.Errorf(codes.ResourceExhausted, "one stream runs %d processes at most: open another", maxProcesses)
	}
	ctr, err := x.bridge.container(init.ContainerID)
	if err != nil {
		return err
	}
	p := &process{id: id, of: x, init: init, input: make(chan *gwpb.ExecMessage, maxWaiting), ended: make(chan struct{})}
	x.byID[id] = p
	x.running.Go(func() { p.run(ctr) })
	return nil
}

// run runs the process. The stream's end is what it is told of by errors of sending, and
// has nobody to tell.
func (p *process) run(ctr gwclient.Container) {
	defer close(p.ended)
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
	var stdin *io.PipeWriter
	for _, fd := range p.init.Fds {
		switch fd {
		case 0:
			var r *io.PipeReader
			r, stdin = io.Pipe()
			req.Stdin = r
			defer r.Close() // so that nobody waits to write to it
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
	var feeding sync.WaitGroup
	feeding.Go(func() { p.feed(proc, stdin, stop) })
	err = proc.Wait()
	close(stop)
	if req.Stdin != nil {
		req.Stdin.Close()
	}
	feeding.Wait()
	return err
}

// feed passes on what comes for the process until it has ended.
func (p *process) feed(proc gwclient.ContainerProcess, stdin *io.PipeWriter, stop <-chan struct{}) {
	if stdin != nil {
		defer stdin.Close()
	}
	for {
		select {
		case msg, ok := <-p.input:
			if !ok {
				return
			}
			p.pass(msg, proc, stdin)
		case <-stop:
			return
		}
	}
}

// pass passes a message on. What the process does not take is dropped: it has ended, or
// closed its input.
func (p *process) pass(msg *gwpb.ExecMessage, proc gwclient.ContainerProcess, stdin *io.PipeWriter) {
	switch m := msg.Input.(type) {
	case *gwpb.ExecMessage_File:
		if stdin == nil || m.File.GetFd() != 0 {
			return
		}
		_, _ = stdin.Write(m.File.Data)
		if m.File.EOF {
			_ = stdin.Close()
		}
	case *gwpb.ExecMessage_Resize:
		_ = proc.Resize(p.of.ctx, gwclient.WinSize{Rows: m.Resize.GetRows(), Cols: m.Resize.GetCols()})
	case *gwpb.ExecMessage_Signal:
		_ = proc.Signal(p.of.ctx, signal.SignalMap[m.Signal.GetName()])
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
