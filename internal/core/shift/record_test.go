//go:build linux

package shift

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// TestUnreadableRecords plans the mount of a layer while nobody can say whether it has records: a directory on the path to them is a symbolic
// link to itself.
func TestUnreadableRecords(t *testing.T) {
	list := []idmap.Map{{Size: 65_536}}
	same := &idmap.Mappings{UIDs: list, GIDs: list}
	for name, request := range map[string]Request{"overlay": {}, "overlay/ids": {}, "overlay/owners": {Maps: same}} {
		home := t.TempDir()
		link := filepath.Join(home, name)
		for _, dir := range []string{filepath.Join(home, "diff", "box"), filepath.Dir(link)} {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(filepath.Base(link), link); err != nil {
			t.Fatal(err)
		}
		layers := []store.Layer{{Home: store.Home(home), ID: "box"}}
		if p, err := PlanOf(layers, true, request); !errors.Is(err, unix.ELOOP) {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}
