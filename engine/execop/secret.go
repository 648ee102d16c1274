package execop

import (
	"context"
	"errors"
	"fmt"

	"github.com/moby/buildkit/executor"
	"github.com/tenonbuild/tenon/engine/session"
)

// secretMount is the file of a secret; nil if it is optional and not given.
func (o *op) secretMount(ctx context.Context, s slot) (executor.Mountable, error) {
	opt := s.mount.SecretOpt
	dt, err := o.secret(ctx, opt.ID, s.dest)
	if err != nil {
		var missing *MissingSecretError
		if opt.Optional && errors.As(err, &missing) {
			return nil, nil
		}
		return nil, err
	}
	return secretFile{dir: secretsDir(o.Store), value: dt, opt: opt}, nil
}

// secretEnv are the environment variables that hold secrets. One that is optional
// and not given is empty, as in BuildKit.
func (o *op) secretEnv(ctx context.Context) ([]string, error) {
	var env []string
	for _, s := range o.exec.Secretenv {
		dt, err := o.secret(ctx, s.ID, "$"+s.Name)
		var missing *MissingSecretError
		if err != nil && !(s.Optional && errors.As(err, &missing)) {
			return nil, err
		}
		env = append(env, s.Name+"="+string(dt))
	}
	return env, nil
}

// secret asks the sessions of the jobs that want the op: see session.Ask.
func (o *op) secret(ctx context.Context, id, place string) ([]byte, error) {
	dt, err := session.Ask(ctx, o.Sessions, func(ctx context.Context, s session.Session) ([]byte, error) {
		return s.Secret(ctx, id)
	})
	if errors.Is(err, session.ErrNotFound) {
		return nil, &MissingSecretError{ID: id, Place: place}
	}
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", id, err)
	}
	return dt, nil
}
