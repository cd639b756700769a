//go:build linux && (amd64 || arm64)

package drivertest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/faults"
	"golang.org/x/sys/unix"
)

// TestRemoveIsOnTheDiskBeforeFilesGo checks the order of the system calls of a Remove: whichever of them the disk has after a power cut,
// a layer that exists must have all of its files.
func TestRemoveIsOnTheDiskBeforeFilesGo(t *testing.T) {
	faults.Need(t)
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, op := range []string{"remove", "remove-mounted", "deferred-remove"} {
			t.Run(op, func(t *testing.T) {
				tr := newTrial(t, operationNamed(op), name)
				find := func(after int, what string, is func(faults.Call) bool) int {
					t.Helper()
					found := slices.IndexFunc(tr.steps[after:], is)
					if found < 0 {
						t.Fatalf("there is no %s after call %d of\n%v", what, after, tr.steps)
					}
					return after + found
				}
				gone := find(0, "removal of the layer's file", func(c faults.Call) bool {
					return strings.HasPrefix(c.Name, "unlink") && strings.HasSuffix(c.Paths[0], "/home/layers/child")
				})
				synced := find(gone, "fsync of layers/", func(c faults.Call) bool {
					return c.Name == "fsync" && strings.HasSuffix(c.Paths[0], "/home/layers")
				})
				moved := find(0, "change of the layer's directory", func(c faults.Call) bool {
					return !c.Opens && slices.ContainsFunc(c.Paths, func(path string) bool { return strings.HasSuffix(path, "/home/diff/child") })
				})
				if moved < synced {
					t.Errorf("call %d, %v, comes before call %d, %v", moved, tr.steps[moved], synced, tr.steps[synced])
				}
			})
		}
	})
}

// TestRemoveThatCannotMoveFiles checks that Remove restores the layer if the layer's mount point cannot be removed, or its directory cannot
// be moved.
func TestRemoveThatCannotMoveFiles(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, what := range []string{store.MntDir, store.DiffDir} {
			t.Run(what, func(t *testing.T) {
				tr := newTrial(t, operationNamed("remove"), name)
				home, failed, looked := tr.copyStore(t), false, false
				said, _ := tr.child(t, home, runTwice, func(call faults.Call) faults.Verdict {
					switch {
					case (strings.HasPrefix(call.Name, "rename") || what == store.MntDir && call.Name == "unlinkat") && strings.HasSuffix(call.Paths[0], "/"+what+"/child") && !failed:
						failed = true
						return faults.Fail(unix.EIO)
					case failed && !strings.HasPrefix(call.Name, "rename") && strings.Contains(call.Paths[0], "/tmp/trash-"):
						// The failed Remove ends here, and the store is as it was before.
						looked = true
						for _, path := range []string{"layers/child", "mnt/child", "diff/child/mine"} {
							if _, err := os.Lstat(filepath.Join(home, path)); err != nil {
								t.Error(err)
							}
						}
					}
					return faults.Continue
				})
				if !failed || !looked || !strings.Contains(said, "failed:") {
					t.Errorf("failed: %v, looked at: %v\n%s", failed, looked, said)
				}
				tr.isAfter(t, home)
			})
		}
	})
}
