//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

func TestConfiguredLimit(t *testing.T) {
	tests := []struct{ name, config, want string }{
		{"set", "CONFIG_AUFS_FS=y\n# CONFIG_AUFS_BRANCH_MAX_127 is not set\nCONFIG_AUFS_BRANCH_MAX_1023=y\n", "1023"},
		{"no aufs", "# CONFIG_AUFS_FS is not set\n", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			if _, err := z.Write([]byte(test.config)); err != nil {
				t.Fatal(err)
			}
			if err := z.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "config.gz")
			if err := os.WriteFile(path, packed.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := configuredLimit(path); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestConfiguredLimitNoFile(t *testing.T) {
	if got := configuredLimit(filepath.Join(t.TempDir(), "none")); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestRunSuites(t *testing.T) {
	const (
		limit  = time.Hour
		takes  = 10 * time.Millisecond
		result = `{"Tests":{"Suite":"%s","Error":"%s","Elapsed":0}}` + "\n"
		notRun = "not run: the time for tests was up"
	)
	var limits []time.Duration
	var sent strings.Builder
	run := func(_ wire.Suite, limit time.Duration) (wire.Exit, error) {
		limits = append(limits, limit)
		time.Sleep(takes)
		return wire.Exit{}, nil
	}
	plan := wire.Plan{Suites: []wire.Suite{{Name: "a"}, {Name: "b"}}, TestTimeout: limit}
	err := runSuites(messages{json.NewEncoder(&sent)}, plan, run)
	if err != nil || len(limits) != 2 || limits[0] > limit || limits[1] > limits[0]-takes {
		t.Errorf("the limits are %v, %v", limits, err)
	}
	if want := fmt.Sprintf(result, "a", "") + fmt.Sprintf(result, "b", ""); sent.String() != want {
		t.Errorf("got %s, want %s", sent.String(), want)
	}

	plan.TestTimeout, limits = 0, nil
	sent.Reset()
	err = runSuites(messages{json.NewEncoder(&sent)}, plan, run)
	if err != nil || len(limits) > 0 {
		t.Errorf("there is no time, and the limits are %v, %v", limits, err)
	}
	if want := fmt.Sprintf(result, "a", notRun) + fmt.Sprintf(result, "b", notRun); sent.String() != want {
		t.Errorf("got %s, want %s", sent.String(), want)
	}
}

func TestMarker(t *testing.T) {
	var out strings.Builder
	var announced []string
	m := &announcer{w: &out, suite: "driver", announce: func(text string) { announced = append(announced, text) }}
	text := "\x16=== RUN   TestA/aufs\nnoise\n\x16=== CONT  TestB\n\x16=== RUN   TestC\n"
	for i := range text {
		if n, err := m.Write([]byte(text[i : i+1])); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if out.String() != text {
		t.Errorf("got output %q, want %q", out.String(), text)
	}
	if got, want := strings.Join(announced, "|"), "vmtest: test TestA/aufs of driver|vmtest: test TestC of driver"; got != want {
		t.Errorf("announced %q, want %q", got, want)
	}
}

func TestTail(t *testing.T) {
	var got tail
	for range 3 {
		if _, err := got.Write(bytes.Repeat([]byte("x"), tailSize/2+1)); err != nil {
			t.Fatal(err)
		}
	}
	if len(got.bytes) != tailSize {
		t.Errorf("kept %d bytes, want %d", len(got.bytes), tailSize)
	}
}
