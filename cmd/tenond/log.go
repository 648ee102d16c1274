package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/containerd/log"
	"github.com/sirupsen/logrus"
)

// logs are [log]: how the daemon says things, and how much of what the libraries log.
type logs struct {
	Format string `toml:"format"`
	Level  string `toml:"level"`
}

// asJSON is whether what the daemon says is a JSON object a line.
var asJSON atomic.Bool

// notice tells whoever runs the daemon.
func notice(text string) { say("info", text) }

func say(level, text string) {
	if !asJSON.Load() {
		fmt.Fprintf(os.Stderr, "tenond: %s\n", text)
		return
	}
	// The names are those that logrus gives, which the libraries log with.
	_ = json.NewEncoder(os.Stderr).Encode(struct {
		Level string    `json:"level"`
		Msg   string    `json:"msg"`
		Time  time.Time `json:"time"`
	}{level, text, time.Now()})
}

// apply settles how the daemon and the libraries log. Those say little by default: what a
// request was refused for, they log as well.
func (l logs) apply() error {
	switch l.Format {
	case "", "text":
	case "json":
		asJSON.Store(true)
		logrus.SetFormatter(&logrus.JSONFormatter{})
	default:
		return fmt.Errorf("the format of logs %q: it can be text or json", l.Format)
	}
	level := logrus.ErrorLevel
	if l.Level != "" {
		var err error
		if level, err = logrus.ParseLevel(l.Level); err != nil {
			return fmt.Errorf("the level of logs %q: it can be panic, fatal, error, warn, info, debug or trace", l.Level)
		}
	}
	log.L = logrus.NewEntry(logrus.StandardLogger())
	logrus.SetOutput(os.Stderr)
	logrus.SetLevel(level)
	return nil
}
