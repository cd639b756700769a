//go:build linux

package aufs

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/storetest"
	graphdriver "go.podman.io/storage/drivers"
)

// oursVariable is the environment variable that names a binary of internal/intree with the driver of the other module.
const oursVariable = "AUFS_TEST_OURS"

// other runs the driver of the other module on a store, with a backend. Each command runs in a process of its own.
type other struct {
	storetest.Program
	backend backend.Name
}

func newOther(t *testing.T, home string, backend backend.Name) other {
	t.Helper()
	program := storetest.Build(t, oursVariable, "..", "./internal/intree", "ours exclude_graphdriver_aufs exclude_graphdriver_btrfs")
	return other{storetest.Program{Path: program, Home: home}, backend}
}

func (o other) do(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	return o.Run(t, stdin, append([]string{"-opt", "aufs.backend=" + string(o.backend)}, args...)...)
}

// TestSharedStore has programs of both libraries use one store in turn.
func TestSharedStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		d := newDriver(t, name)
		o := newOther(t, homeOf(t, d), name)
		must(t, d.Create("base", "", nil))
		none := graphdriver.ApplyDiffOpts{}
		apply(t, d, "base", "", none, entry{Name: "f", Content: "f"}, entry{Name: "gone", Content: "x"}, entry{Name: "d/"}, entry{Name: "d/f", Content: "df"})
		o.do(t, nil, "create", "theirs", "base")
		o.do(t, archiveOf(t, entry{Name: ".wh.gone"}, entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/new", Content: "n"}), "apply", "theirs", "base")
		must(t, d.Create("mine", "theirs", nil))
		inside(t, d, "mine", func(dir string) {
			sameNames(t, readTree(t, dir).Names(), "d", "d/new", "f")
			must(t, errors.Join(os.Remove(filepath.Join(dir, "f")), os.RemoveAll(filepath.Join(dir, "d"))))
			write(t, dir, files{"d/mine": "m"})
		})
		o.do(t, nil, "create-rw", "container", "mine")
		o.do(t, nil, "run", "container", "--", "/bin/sh", "-c", "test ! -e f && rm d/mine && echo 2 > d/more")
		inside(t, d, "container", func(dir string) { sameNames(t, readTree(t, dir).Names(), "d", "d/more") })
		if got := strings.Fields(o.do(t, nil, "list")); !slices.Equal(got, []string{"base", "container", "mine", "theirs"}) {
			t.Errorf("the other program lists %q", got)
		}
		// The archives that both programs make of a layer have the same names in them.
		for id, parent := range map[string]string{"theirs": "base", "mine": "theirs", "container": "mine"} {
			r, err := d.Diff(id, nil, parent, nil, "")
			must(t, err)
			sameNames(t, keysOf(readArchive(t, r)), namesIn(t, o.do(t, nil, "diff", id, parent))...)
			must(t, r.Close())
		}
		inside(t, d, "container", func(dir string) { must(t, os.Remove(filepath.Join(dir, "d/more"))) })
		o.do(t, nil, "remove", "container")
		if d.Exists("container") {
			t.Error("what the other program has removed is there")
		}
		must(t, d.Remove("mine"))
		o.do(t, nil, "cleanup")
		inside(t, d, "theirs", func(dir string) { sameNames(t, readTree(t, dir).Names(), "d", "d/new", "f") })
	})
}

// inside mounts the layer id, calls do with the mount point, and unmounts the layer.
func inside(t *testing.T, d graphdriver.Driver, id string, do func(dir string)) {
	t.Helper()
	dir, err := d.Get(id, graphdriver.MountOpts{})
	must(t, err)
	do(dir)
	must(t, d.Put(id))
}

// homeOf returns the home directory of a driver's store.
func homeOf(t *testing.T, d graphdriver.Driver) string {
	t.Helper()
	for _, pair := range d.Status() {
		if pair[0] == "Root Dir" {
			return pair[1]
		}
	}
	t.Fatal("the status does not say where the store is")
	return ""
}

// namesIn returns the names in an archive, sorted.
func namesIn(t *testing.T, archive string) []string {
	t.Helper()
	var names []string
	for r := tar.NewReader(bytes.NewReader([]byte(archive))); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		names = append(names, h.Name)
	}
	slices.Sort(names)
	return names
}
