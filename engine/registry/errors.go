package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteserrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
)

// ErrDenied is wrapped by errors of a registry that wants other credentials.
var ErrDenied = errors.New("access denied")

// Refused says whether a registry does not take what it was given as it is, such as a manifest
// that names what is not there.
func Refused(err error) bool {
	var status remoteserrors.ErrUnexpectedStatus
	if !errors.As(err, &status) {
		return false
	}
	switch status.StatusCode {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// query is what follows a question mark in a URL. Where registries redirect to, it is
// often what lets anybody who knows it read a blob.
var query = regexp.MustCompile(`(https?://[^\s"'?]*)\?[^\s"']+`)

// noise is what libraries say of errors that says nothing.
var noise = regexp.MustCompile(`failed commit on ref "[^"]*": |httpReadSeeker: failed open: |failed to do request: `)

// unsigned is an error that shows no queries of URLs, and no noise.
type unsigned struct{ error }

func (e unsigned) Error() string {
	return noise.ReplaceAllString(query.ReplaceAllString(e.error.Error(), "$1?..."), "")
}
func (e unsigned) Unwrap() error { return e.error }

// explain says what was being done, and what to do where that is known. The error
// of a caller that has gone stays what it is.
func explain(doing, ref string, err error) error {
	if err == nil {
		return nil
	}
	return unsigned{explained(doing, ref, err)}
}

func explained(doing, ref string, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s %s: %w", doing, ref, err)
	}
	host := ref
	if _, h, perr := normalize(ref); perr == nil {
		host = h
	}
	var status remoteserrors.ErrUnexpectedStatus
	hasStatus := errors.As(err, &status)
	switch {
	case errors.Is(err, docker.ErrInvalidAuthorization),
		hasStatus && (status.StatusCode == http.StatusUnauthorized || status.StatusCode == http.StatusForbidden):
		return fmt.Errorf("%s %s: %w: check the name, or log in with \"docker login %s\": %w", doing, ref, ErrDenied, host, said(err, status.Body))
	case errdefs.IsNotFound(err):
		text := fmt.Sprintf("%s %s: not found: the registry does not have it, or not for anonymous users: check the name, or log in with \"docker login %s\"", doing, ref, host)
		if more := err.Error(); more != ref+": not found" {
			text += ": " + more
		}
		return &missing{text, err}
	case hasStatus:
		return fmt.Errorf("%s %s: %w", doing, ref, said(err, status.Body))
	}
	return fmt.Errorf("%s %s: %w", doing, ref, err)
}

// missing is an error whose cause says no more than that something is not there.
type missing struct {
	text  string
	cause error
}

func (e *missing) Error() string { return e.text }
func (e *missing) Unwrap() error { return e.cause }

// said adds the message in the body of a registry's answer, if it has the form of
// the distribution specification.
func said(err error, body []byte) error {
	var answer struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	var told docker.Errors
	if errors.As(err, &told) || json.Unmarshal(body, &answer) != nil {
		return err // it says so, or there is nothing to say
	}
	var words []string
	for _, e := range answer.Errors {
		if w := strings.TrimSpace(e.Code + " " + e.Message); w != "" && len(words) < 3 {
			words = append(words, w[:min(len(w), 300)])
		}
	}
	if len(words) == 0 {
		return err
	}
	return fmt.Errorf("%w: %s", err, strings.Join(words, "; "))
}
