//go:build linux

package storetest

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path"
	"testing"
)

// HeadersOf returns a tar archive of headers. Each entry has as much content as its header says.
func HeadersOf(t *testing.T, headers ...*tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		Must(t, w.WriteHeader(h))
		_, err := w.Write(bytes.Repeat([]byte(".wh."), int(h.Size))[:h.Size])
		Must(t, err)
	}
	Must(t, w.Close())
	return b.Bytes()
}

// Content returns n bytes that show if some of them are lost or change places.
func Content(n int) []byte {
	content := make([]byte, n)
	for i := range content {
		content[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return content
}

// A Member is an entry of an archive: its header, and as much content as the header says.
type Member tar.Header

// Packed returns an archive of members.
func Packed(t *testing.T, members ...Member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := tar.Header(m)
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		Must(t, w.WriteHeader(&h))
		_, err := w.Write(bytes.Repeat([]byte("x"), int(h.Size)))
		Must(t, err)
	}
	Must(t, w.Close())
	return b.Bytes()
}

// NeedRoot skips a test that needs root, if the process is not root.
func NeedRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("this takes root")
	}
}

// Numbered returns an archive of members, each with different content.
func Numbered(t *testing.T, members ...Member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i, m := range members {
		h := tar.Header(m)
		h.Mode = 0o755
		content := ""
		if h.Typeflag == tar.TypeReg && h.Size > 0 {
			content = fmt.Sprintf("content %d", i)
			h.Size = int64(len(content))
		}
		Must(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, content)
		Must(t, err)
	}
	Must(t, w.Close())
	return b.Bytes()
}

// FileOf returns a file of one byte for an archive.
func FileOf(name string) Member {
	return Member{Name: name, Size: 1, Typeflag: tar.TypeReg}
}

// LinkOf returns a hard link for an archive.
func LinkOf(name, target string) Member {
	return Member{Name: name, Linkname: target, Typeflag: tar.TypeLink}
}

// SymlinkOf returns a symbolic link for an archive.
func SymlinkOf(name, target string) Member {
	return Member{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}
}

// DirOf returns a directory for an archive.
func DirOf(name string) Member { return Member{Name: name, Typeflag: tar.TypeDir} }

// AnyArchive draws a random archive. It has few different names, in any order, and each can be anything.
func AnyArchive(t *testing.T, r *rand.Rand) []byte {
	t.Helper()
	name := func() string {
		name := ""
		for range 1 + r.IntN(3) {
			name = path.Join(name, string(rune('a'+r.IntN(3))))
		}
		dir, base := path.Split(name)
		switch r.IntN(12) {
		case 0:
			return dir + ".wh." + base
		case 1:
			return dir + ".wh..wh..opq"
		case 2:
			return dir + ".wh..wh." + base
		}
		return name
	}
	members := []Member{DirOf("a/"), DirOf("b/a/")}
	earlier := func() string { return path.Clean(members[r.IntN(len(members))].Name) }
	for range 2 + r.IntN(10) {
		m := FileOf(name())
		switch r.IntN(8) {
		case 0, 1:
			m = DirOf(m.Name)
		case 2:
			m = SymlinkOf(m.Name, "/"+earlier())
		case 3:
			m = LinkOf(m.Name, earlier())
			// In some archives, a hard link has the size of its target.
			m.Size = int64(r.IntN(2))
		}
		members = append(members, m)
	}
	return Numbered(t, members...)
}

// Panicking is a reader that panics.
type Panicking struct{}

// Read implements io.Reader.
func (Panicking) Read([]byte) (int, error) { panic("of the reader") }
