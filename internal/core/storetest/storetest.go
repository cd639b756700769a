//go:build linux

package storetest

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"golang.org/x/sys/unix"
)

// NoMounts fails the test if anything is mounted at or under dir.
func NoMounts(t *testing.T, dir string) {
	t.Helper()
	mounts, err := mountutil.MountsUnder(dir)
	if err != nil {
		t.Error(err)
	}
	for _, m := range mounts {
		t.Errorf("%s (%s) is still mounted", m.Mountpoint, m.FSType)
	}
	if mounted, err := mountutil.IsMounted(dir); err != nil || mounted {
		t.Errorf("%s is mounted: %v, %v", dir, mounted, err)
	}
}

// Must fails the test at once if err is not nil.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A Tree describes files: by path, everything that matters of each file.
type Tree map[string]string

// ReadTree describes all files under dir, and dir itself. It has the times of regular files only.
func ReadTree(t *testing.T, dir string) Tree {
	t.Helper()
	result := Tree{}
	names := map[uint64][]string{}
	Must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		node, err := describe(path, info)
		if err != nil {
			return err
		}
		result[rel] = node
		if info.Mode().IsRegular() {
			names[fsutil.StatOf(info).Ino] = append(names[fsutil.StatOf(info).Ino], rel)
		}
		return nil
	}))
	for _, group := range names {
		sort.Strings(group)
		for _, name := range group {
			if len(group) > 1 {
				result[name] += " links " + strings.Join(group, " ")
			}
		}
	}
	return result
}

func describe(path string, info fs.FileInfo) (string, error) {
	st := fsutil.StatOf(info)
	node := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
	switch {
	case info.Mode().IsRegular():
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		node += fmt.Sprintf(" %d %x %d", len(content), sha256.Sum256(content), info.ModTime().UnixNano())
	case info.Mode()&fs.ModeSymlink != 0:
		target, err := os.Readlink(path)
		if err != nil {
			return "", err
		}
		node += " -> " + target
	case info.Mode()&fs.ModeDevice != 0:
		node += fmt.Sprintf(" device %x", st.Rdev)
	}
	names, err := fsutil.PathXattrs(path).List()
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return "", err
	}
	sort.Strings(names)
	for _, name := range names {
		value, err := fsutil.PathXattrs(path).Get(name)
		if err != nil {
			return "", err
		}
		node += fmt.Sprintf(" %s=%q", name, value)
	}
	return node, nil
}

// SameTree fails the test for each file that differs between got and want.
func SameTree(t *testing.T, got, want Tree) {
	t.Helper()
	for path, node := range want {
		if got[path] != node {
			t.Errorf("%s:\n got  %q\n want %q", path, got[path], node)
		}
	}
	for path, node := range got {
		if _, ok := want[path]; !ok {
			t.Errorf("%s is too many: %q", path, node)
		}
	}
}

// Names returns the paths of a tree, sorted and without the root.
func (tr Tree) Names() []string {
	var names []string
	for name := range tr {
		if name != "." {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// SameNames fails the test unless got and want have the same elements, in any order.
func SameNames(t *testing.T, got []string, want ...string) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		t.Errorf("\n got  %q\n want %q", got, want)
	}
}

// Files are files for Write to make. A path that ends in '/' is a directory, and any other path is a file with that content.
type Files map[string]string

// Write makes files under dir, with the directories that they need.
func Write(t *testing.T, dir string, f Files) {
	t.Helper()
	paths := make([]string, 0, len(f))
	for path := range f {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	for _, path := range paths {
		full := filepath.Join(dir, path)
		if strings.HasSuffix(path, "/") {
			Must(t, os.MkdirAll(full, 0o755))
			continue
		}
		Must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		Must(t, os.WriteFile(full, []byte(f[path]), 0o644))
	}
}

// An Entry is an entry of an archive: a directory if Name ends in '/', a hard link if Link is set, and otherwise a file.
type Entry struct {
	Name, Content, Link string
	Mode                int64
}

// ArchiveOf returns a tar archive of entries.
func ArchiveOf(t *testing.T, entries ...Entry) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		Must(t, e.Write(w))
	}
	Must(t, w.Close())
	return &b
}

func (e Entry) Write(w *tar.Writer) error {
	h := &tar.Header{Name: e.Name, Mode: e.Mode, Size: int64(len(e.Content)), Typeflag: tar.TypeReg}
	switch {
	case strings.HasSuffix(e.Name, "/"):
		h.Typeflag = tar.TypeDir
		if e.Mode == 0 {
			h.Mode = 0o755
		}
	case e.Link != "":
		h.Typeflag, h.Linkname = tar.TypeLink, e.Link
	}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(w, e.Content)
	return err
}

// ReadArchive reads all headers of an archive.
func ReadArchive(t *testing.T, r io.Reader) map[string]*tar.Header {
	t.Helper()
	headers := map[string]*tar.Header{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return headers
		}
		Must(t, err)
		headers[h.Name] = h
	}
}

// KeysOf returns the names in an archive.
func KeysOf(headers map[string]*tar.Header) []string {
	var names []string
	for name := range headers {
		names = append(names, name)
	}
	return names
}

// Wants fails the test unless err matches target and its text has all of words.
func Wants(t *testing.T, err, target error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, where one with %q was wanted", words)
	}
	if target != nil && !errors.Is(err, target) {
		t.Errorf("%v\n is no %v", err, target)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%v\n does not say %q", err, word)
		}
	}
}

// NoOptionsFile keeps the driver from reading the host's options file. It names a storage.conf that is empty, and has no such file beside it.
func NoOptionsFile() {
	if err := os.Setenv("CONTAINERS_STORAGE_CONF", os.DevNull); err != nil {
		panic(err)
	}
}

// HasUserXattrs reports whether files can have attributes of users. On tmpfs, they cannot before Linux 6.6.
func HasUserXattrs(t *testing.T) bool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	Must(t, os.WriteFile(file, nil, 0o600))
	err := fsutil.PathXattrs(file).Set("user.test", []byte("v"), 0)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	return err == nil
}

// ArchiveBytes returns the content of ArchiveOf.
func ArchiveBytes(t *testing.T, entries ...Entry) []byte {
	t.Helper()
	content, err := io.ReadAll(ArchiveOf(t, entries...))
	Must(t, err)
	return content
}

// Drain reads an archive to its end, and closes it.
func Drain(archive io.ReadCloser) error {
	_, err := io.Copy(io.Discard, archive)
	return errors.Join(err, archive.Close())
}

// NewLayer has the entries of an archive. The driver's tests apply it to a layer on top of the layer that they call middle.
var NewLayer = []Entry{
	{Name: "d/"},
	{Name: "d/.wh..wh..opq"},
	{Name: "d/new", Content: "new"},
	{Name: "e/"},
	{Name: "e/mine", Content: "mine"},
	{Name: ".wh.new"},
	{Name: "g", Content: strings.Repeat("g", 100_000)},
	{Name: "same", Link: "g"},
	{Name: "f/"},
	{Name: "f/f", Content: "f"},
}
