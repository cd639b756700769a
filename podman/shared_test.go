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
)

// other runs the driver of the other module on a store, each command in a process of its own.
type other struct {
	intree
	backend backendName
}

// oursVariable names, in the environment, a binary of internal/intree with the driver of the other module.
const oursVariable = "AUFS_TEST_OURS"

// newOther is a program of the other storage library, with the driver that this one was made from.
func newOther(t *testing.T, home string, backend backendName) other {
	t.Helper()
	return other{intree{built(t, oursVariable, "./internal/intree", "ours exclude_graphdriver_aufs exclude_graphdriver_btrfs"), home}, backend}
}

func (o other) do(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	return o.run(t, stdin, append([]string{"-opt", "aufs.backend=" + string(o.backend)}, args...)...)
}

// TestSharedStore has programs of both libraries use one store in turn.
func TestSharedStore(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backendName) {
		s := newStore(t, name)
		o := newOther(t, string(s.inner.home), name)
		s.create(t, "", "base")
		s.apply(t, "base", "", entry{name: "f", content: "f"}, entry{name: "gone", content: "x"}, entry{name: "d/"}, entry{name: "d/f", content: "df"})
		o.do(t, nil, "create", "theirs", "base")
		o.do(t, archiveOf(t, entry{name: ".wh.gone"}, entry{name: "d/"}, entry{name: "d/.wh..wh..opq"}, entry{name: "d/new", content: "n"}), "apply", "theirs", "base")
		s.create(t, "theirs", "mine")
		s.change(t, "mine", func(dir string) {
			sameNames(t, readTree(t, dir).names(), "d", "d/new", "f")
			must(t, os.Remove(filepath.Join(dir, "f")))
			must(t, os.RemoveAll(filepath.Join(dir, "d")))
			write(t, dir, files{"d/mine": "m"})
		})
		o.do(t, nil, "create-rw", "container", "mine")
		o.do(t, nil, "run", "container", "--", "/bin/sh", "-c", "test ! -e f && rm d/mine && echo 2 > d/more")
		sameNames(t, s.see(t, "container").names(), "d", "d/more")
		if got := strings.Fields(o.do(t, nil, "list")); !slices.Equal(got, []string{"base", "container", "mine", "theirs"}) {
			t.Errorf("the other program lists %q", got)
		}
		// Each tells the same of what the other one has made.
		for id, parent := range map[string]string{"theirs": "base", "mine": "theirs", "container": "mine"} {
			theirs := namesIn(t, o.do(t, nil, "diff", id, parent))
			sameNames(t, keysOf(s.diff(t, id, parent)), theirs...)
		}
		dir := s.get(t, "container")
		must(t, os.Remove(filepath.Join(dir, "d/more")))
		must(t, s.Put("container"))
		o.do(t, nil, "remove", "container")
		if s.Exists("container") {
			t.Error("what the other program has removed is there")
		}
		must(t, s.Remove("mine"))
		o.do(t, nil, "cleanup")
		s.oneForm(t, "theirs")
		sameNames(t, s.see(t, "theirs").names(), "d", "d/new", "f")
	})
}

// namesIn are the names in an archive, sorted.
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
