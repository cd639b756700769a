//go:build linux && (amd64 || arm64)

package aufs

import (
	"slices"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/faults"
)

// TestRemoveIsOnTheDiskBeforeFilesGo is about the order of the calls of a Remove: whatever of them the disk has after a power cut, a layer
// that exists has all of its files.
func TestRemoveIsOnTheDiskBeforeFilesGo(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
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
