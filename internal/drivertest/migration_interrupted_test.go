//go:build linux && (amd64 || arm64)

package drivertest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/faults"
)

// TestMigrationInterrupted kills Init at its steps, while it brings an old store to the current layout. The next Init must finish that
// work. The test draws as many stores as it draws steps of each.
func TestMigrationInterrupted(t *testing.T) {
	if args := strings.Split(os.Getenv(childVariable), "|"); len(args) == 2 {
		faults.Tell(faults.Begin)
		_, err := reopen(args[0], backend.Name(args[1]))
		faults.Tell(faults.End)
		must(t, err)
		return
	}
	if os.Getenv(stepsVariable) == "0" {
		t.Skip("none was asked for")
	}
	faults.Need(t)
	forEachBackend(t, func(t *testing.T, backendName backend.Name) {
		for _, name := range some(t, fixtureNames(t)) {
			t.Run(name, func(t *testing.T) {
				var steps []faults.Call
				o := buildOldStore(t, name, mountutil.BootID())
				o.initKilled(t, backendName, func(call faults.Call) faults.Verdict {
					steps = append(steps, call)
					return faults.Continue
				})
				unmountLazily(t, o.home)
				for _, step := range some(t, steps) {
					o := buildOldStore(t, name, mountutil.BootID())
					o.initKilled(t, backendName, func(call faults.Call) faults.Verdict {
						if call.N == step.N {
							return faults.Kill
						}
						return faults.Continue
					})
					o.interrupted = true
					unmountLazily(t, o.home)
					testMigration(t, backendName, o, false)
					if t.Failed() {
						t.Fatalf("killed at step %d of %d, %v", step.N, len(steps), step)
					}
				}
			})
		}
	})
}

// initKilled runs Init in a process of its own, which decide can kill.
func (o oldStore) initKilled(t *testing.T, backendName backend.Name, decide func(faults.Call) faults.Verdict) {
	t.Helper()
	var out bytes.Buffer
	killed := false
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestMigrationInterrupted$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s|%s", childVariable, o.home, backendName))
	cmd.Stdout, cmd.Stderr = &out, &out
	err := faults.Run(cmd, func(call faults.Call) faults.Verdict {
		verdict := decide(call)
		killed = killed || verdict == faults.Kill
		return verdict
	})
	if !killed && (err != nil || !strings.Contains(out.String(), "--- PASS: TestMigrationInterrupted")) {
		t.Fatalf("opening %s: %v\n%s", filepath.Base(o.home), err, out.String())
	}
}
