//go:build linux

package kept_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/kept"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"golang.org/x/sys/unix"
)

// TestUnreadableKept looks for kept content while nobody can say whether there is any: the directory of it is a symbolic link to itself.
// Reading then is an error, not the content of another file of that name.
func TestUnreadableKept(t *testing.T) {
	h := store.Home(t.TempDir())
	if err := os.Symlink(store.KeptDir, filepath.Join(string(h), store.KeptDir)); err != nil {
		t.Fatal(err)
	}
	place, found := kept.In([]store.Layer{{Home: h, ID: "layer"}})["layer"]
	if !found {
		t.Fatal("the layer has no kept content")
	}
	if f, err := kept.Open(place, layertar.KeptName{Name: "f", N: 1}); !errors.Is(err, unix.ELOOP) {
		t.Errorf("%v, %v", f, err)
	}
}
