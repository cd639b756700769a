//go:build linux

package bench

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	graphdriver "github.com/containers/storage/drivers"
	"golang.org/x/sys/unix"
)

// idOf returns the id for a name: 64 digits, as ids have in practice.
func idOf(format string, args ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, format, args...))
	return hex.EncodeToString(sum[:])
}

// makeLayer makes a layer and unpacks the archive of a tree in it.
func (s store) makeLayer(b *testing.B, id, parent string, content tree) {
	b.Helper()
	archive := content.open(b)
	defer archive.Close()
	s.unpackLayer(b, id, parent, archive)
}

// unpackLayer makes a layer and unpacks an archive in it.
func (s store) unpackLayer(b *testing.B, id, parent string, archive io.Reader) {
	b.Helper()
	must(b, s.Create(id, parent, nil))
	_, err := s.ApplyDiff(id, parent, graphdriver.ApplyDiffOpts{Diff: archive})
	must(b, err)
}

// makeStack makes layers, each on top of the previous one. The first layer has all of base. The others have a file each,
// which makeStack writes directly, because unpacking an archive takes long.
func (s store) makeStack(b *testing.B, layers int, base tree) {
	b.Helper()
	s.makeLayer(b, stackID(0), "", base)
	for i := 1; i < layers; i++ {
		must(b, s.Create(stackID(i), stackID(i-1), nil))
		must(b, os.WriteFile(filepath.Join(s.filesOf(stackID(i)), fmt.Sprintf("layer-%d", i)), []byte("a file"), 0o644))
	}
}

// stackID returns the id of layer i of a stack; layer 0 is the lowest.
func stackID(i int) string { return idOf("stack %d", i) }

// get mounts a layer.
func (s store) get(b *testing.B, id string) string {
	b.Helper()
	dir, err := s.Get(id, graphdriver.MountOpts{})
	must(b, err)
	return dir
}

// shows fails the benchmark if a mount does not show a file of the right size.
func shows(b *testing.B, dir, name string, size int64) {
	b.Helper()
	info, err := os.Lstat(filepath.Join(dir, name))
	must(b, err)
	if info.Size() != size {
		b.Fatalf("%s in the mount has %d bytes, and should have %d", name, info.Size(), size)
	}
}

// hides fails the benchmark if a mount shows a file.
func hides(b *testing.B, dir, name string) {
	b.Helper()
	if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
		b.Fatalf("the mount shows %s: %v", name, err)
	}
}

// settled syncs the file system, so that an operation does not wait for earlier writes.
func settled(b *testing.B) {
	b.Helper()
	dir, err := os.Open(workDir())
	must(b, err)
	defer dir.Close()
	must(b, unix.Syncfs(int(dir.Fd())))
}

// readAll reads an archive to its end and returns its size.
func readAll(b *testing.B, archive io.ReadCloser) int64 {
	b.Helper()
	n, err := io.Copy(io.Discard, archive)
	must(b, err)
	must(b, archive.Close())
	return n
}
