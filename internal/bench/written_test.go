//go:build linux

package bench

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// A written is a container on some layers of an image, in which files were written and deleted.
type written struct {
	image   image
	parents int
	files   int // how many were written; for every ten, a file of the lowest layer was deleted
}

// BenchmarkGetPutWritten mounts and unmounts a container in which files were written and deleted through a mount. The layers
// below it have no whiteouts, or each of them but the lowest has one and an opaque directory.
func BenchmarkGetPutWritten(b *testing.B) {
	parents := bySize([]int{2, 30, 127}, []int{2, 30, 127}, []int{2})
	files := bySize([]int{0, 10, 1000, 10000}, []int{0, 10, 1000}, []int{0, 10})
	for _, marks := range []string{"none", "each"} {
		im := image{layers: slices.Max(parents), files: 1, gone: slices.Max(files) / 10, marks: marks == "each"}
		for _, p := range parents {
			for _, n := range files {
				b.Run(fmt.Sprintf("marks=%s/parents=%d/files=%d", marks, p, n), func(b *testing.B) {
					written{im, p, n}.benchmark(b, "written-"+marks)
				})
			}
		}
	}
}

func (w written) benchmark(b *testing.B, name string) {
	b.Helper()
	forEach(b, layered, func(b *testing.B, d driver) {
		s := w.open(b, d, name)
		s.getPut(b, w.id(), func(dir string) { w.look(b, s, dir) })
	})
	// The kernel alone does not show these layers correctly: overlayfs does not know their marks, and aufs shows files
	// that opaque directories of one name hide. So its time is no floor there.
	if w.image.marks {
		return
	}
	if d, ok := driverNamed(Ours); ok {
		b.Run("driver="+Floor, func(b *testing.B) {
			benchmarkBare(b, w.open(b, d, name), w.id(), func(dir string) { w.shows(b, dir) })
		})
	}
	if d, ok := driverNamed(OursOnOverlay); ok {
		b.Run("driver="+FloorOverlay, func(b *testing.B) {
			benchmarkBareOverlay(b, w.open(b, d, name), w.id(), func(dir string) { w.shows(b, dir) })
		})
	}
}

// id returns the container's id.
func (w written) id() string { return idOf("%+v", w) }

// open opens a store that has the image and the container. All containers on the image share the store.
func (w written) open(b *testing.B, d driver, name string) store {
	b.Helper()
	s := d.fixture(b, name, func(s store) { w.image.unpack(b, s) })
	if !s.Exists(w.id()) {
		must(b, s.CreateReadWrite(w.id(), w.image.id(w.parents-1), nil))
		must(b, w.write(s.get(b, w.id())))
		must(b, s.Put(w.id()))
		settled(b)
	}
	return s
}

// content returns the files that were written.
func (w written) content() tree { return tree{files: w.files, size: 10, prefix: "written-"} }

// deleted returns how many files of the lowest layer were deleted.
func (w written) deleted() int { return (w.files + 9) / 10 }

// write writes and deletes files in a mount of the container.
func (w written) write(dir string) error {
	content := w.content()
	for i := range w.files {
		path := filepath.Join(dir, content.file(i))
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err = errors.Join(err, os.WriteFile(path, make([]byte, content.size), 0o644)); err != nil {
			return err
		}
	}
	for i := range w.deleted() {
		if err := os.Remove(filepath.Join(dir, gonerFile(i))); err != nil {
			return err
		}
	}
	return nil
}

// look fails the benchmark if a mount does not show the image and the container's changes.
func (w written) look(b *testing.B, s store, dir string) {
	b.Helper()
	w.shows(b, dir)
	w.image.look(b, s, dir, w.parents-1)
	if n := w.deleted(); n > 0 {
		hides(b, dir, gonerFile(n-1))
	}
}

// shows fails the benchmark if a mount does not show a file of the lowest layer and the last file that was written. The kernel
// alone must show these too, in whatever form the container is.
func (w written) shows(b *testing.B, dir string) {
	b.Helper()
	shows(b, dir, imageFile(0, 0), int64(len("a file")))
	if w.files > 0 {
		shows(b, dir, w.content().file(w.files-1), w.content().size)
	}
}
