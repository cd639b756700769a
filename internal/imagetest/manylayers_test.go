//go:build linux

package imagetest

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// manyLayersVariable holds the arguments for the child process of TestDeleteImageWithFewOpenFiles.
const manyLayersVariable = "AUFS_IMAGETEST_MANY_LAYERS"

// TestDeleteImageWithFewOpenFiles has the library delete an image of 140 layers in a process that can open 256 files.
func TestDeleteImageWithFewOpenFiles(t *testing.T) {
	const layers = 140
	if args := strings.Split(os.Getenv(manyLayersVariable), "|"); len(args) == 2 {
		must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 256, Max: 256}))
		empty(t, openStore(t, args[0], args[1]))
		return
	}
	forEachBackend(t, func(t *testing.T, backend string) {
		root := t.TempDir()
		store := openStore(t, root, backend)
		var archive bytes.Buffer
		w := tar.NewWriter(&archive)
		must(t, w.WriteHeader(&tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644}))
		must(t, w.Close())
		top := ""
		for range layers {
			layer, _, err := store.PutLayer("", top, nil, "", false, nil, bytes.NewReader(archive.Bytes()))
			must(t, err)
			top = layer.ID
		}
		_, err := store.CreateImage("", []string{"image"}, top, "", nil)
		must(t, err)
		_, err = store.Shutdown(false)
		must(t, err)
		store.Free()
		c := exec.Command("/proc/self/exe", "-test.run=^TestDeleteImageWithFewOpenFiles$", "-test.v")
		c.Env = append(os.Environ(), manyLayersVariable+"="+root+"|"+backend)
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		noLayers(t, filepath.Join(root, "graph", "aufs"))
	})
}
