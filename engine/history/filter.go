package history

import (
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/filters"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/util/gitutil"
	"github.com/tonistiigi/go-csvvalue"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// matcher says whether a record is wanted.
type matcher func(*controlapi.BuildHistoryRecord) bool

// parseFilters reads filters as buildx writes them: a record is wanted if it meets one,
// which is a list of conditions separated by commas. Conditions on startedAt, completedAt
// and duration compare (>, >=, <, <=); those on ref, status and repository are
// containerd's.
func parseFilters(list []string) (matcher, error) {
	var any []matcher
	for _, text := range list {
		m, err := parseFilter(text)
		if err != nil {
			return nil, status.Errorf(codes.InvalidArgument, "filter %q of history: %v", text, err)
		}
		any = append(any, m)
	}
	return func(rec *controlapi.BuildHistoryRecord) bool {
		for _, m := range any {
			if m(rec) {
				return true
			}
		}
		return len(any) == 0
	}, nil
}

func parseFilter(text string) (matcher, error) {
	fields, err := csvvalue.Fields(text, nil)
	if err != nil {
		return nil, err
	}
	var all []matcher
	var rest []string
	for _, field := range fields {
		m, err := comparison(field)
		if err != nil {
			return nil, err
		}
		if m == nil {
			rest = append(rest, field)
			continue
		}
		all = append(all, m)
	}
	others, err := filters.ParseAll(strings.Join(rest, ","))
	if err != nil {
		return nil, err
	}
	return func(rec *controlapi.BuildHistoryRecord) bool {
		for _, m := range all {
			if !m(rec) {
				return false
			}
		}
		return others.Match(adapt(rec))
	}, nil
}

// comparison reads a condition that compares times; nil if it is another one.
func comparison(field string) (matcher, error) {
	for _, op := range []string{">=", "<=", ">", "<"} {
		key, value, ok := strings.Cut(field, op)
		if !ok {
			continue
		}
		of, err := timed(key, value)
		if of == nil || err != nil {
			return nil, err
		}
		return func(rec *controlapi.BuildHistoryRecord) bool {
			got, want := of(rec)
			switch op {
			case ">=":
				return got >= want
			case "<=":
				return got <= want
			case ">":
				return got > want
			}
			return got < want
		}, nil
	}
	return nil, nil
}

// timed returns what gives a record's value of a key, and that which it is compared with.
func timed(key, value string) (func(*controlapi.BuildHistoryRecord) (got, want int64), error) {
	switch key {
	case "duration":
		d, err := time.ParseDuration(value)
		if err != nil {
			return nil, fmt.Errorf("invalid duration %q", value)
		}
		return func(rec *controlapi.BuildHistoryRecord) (got, want int64) {
			if rec.CompletedAt != nil {
				got = int64(rec.CompletedAt.AsTime().Sub(rec.CreatedAt.AsTime()))
			}
			return got, int64(d)
		}, nil
	case "startedAt", "completedAt":
		at, err := moment(value)
		if err != nil {
			return nil, err
		}
		return func(rec *controlapi.BuildHistoryRecord) (got, want int64) {
			when := rec.CreatedAt
			if key == "completedAt" {
				when = rec.CompletedAt
			}
			if when != nil {
				got = when.AsTime().Unix()
			}
			return got, at.Unix()
		}, nil
	}
	return nil, nil
}

// moment is a time, or how long ago that is.
func moment(value string) (time.Time, error) {
	if d, err := time.ParseDuration(value); err == nil {
		return time.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return t, fmt.Errorf("invalid time %q: say a duration, or a time as in RFC 3339", value)
	}
	return t, nil
}

// adapt is a record as containerd's filters see it.
func adapt(rec *controlapi.BuildHistoryRecord) filters.Adaptor {
	return filters.AdapterFunc(func(path []string) (string, bool) {
		if len(path) == 0 {
			return "", false
		}
		switch path[0] {
		case "ref":
			return rec.Ref, rec.Ref != ""
		case "status":
			return outcome(rec), true
		case "repository":
			if v, ok := rec.FrontendAttrs["vcs:source"]; ok {
				return v, true
			}
			if u, err := gitutil.ParseURL(rec.FrontendAttrs["context"]); err == nil {
				return u.Remote, true
			}
		}
		return "", false
	})
}

func outcome(rec *controlapi.BuildHistoryRecord) string {
	switch {
	case rec.CompletedAt == nil:
		return "running"
	case rec.Error == nil:
		return "completed"
	case strings.Contains(rec.Error.Message, "context canceled"):
		return "canceled"
	}
	return "error"
}
