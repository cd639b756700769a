//go:build linux

package aufs

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

	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/drivers/copy"
	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/mountutil"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"github.com/seed-642172e2/aufs/internal/differential/library"
	"golang.org/x/sys/unix"
)

// store is a driver under test: all of it, and what only this package sees.
type store struct {
	graphdriver.Driver
	inner   *Driver
	backend backendName
}

// newStore makes a driver on a store of its own. When the test ends, nothing may be mounted in the store.
func newStore(t *testing.T, name backendName, more ...string) store {
	t.Helper()
	s := openStore(t, filepath.Join(t.TempDir(), "home"), name, more...)
	return s
}

// openStore makes a driver on the store at dir, which may be there already.
func openStore(t *testing.T, dir string, name backendName, more ...string) store {
	t.Helper()
	s, err := reopen(dir, name, more...)
	must(t, err)
	t.Cleanup(func() {
		if err := s.Cleanup(); err != nil {
			t.Errorf("Cleanup: %v", err)
		}
		noMounts(t, dir)
	})
	return s
}

// reopen is Init on the store at home. Nothing happens when the test ends.
func reopen(home string, name backendName, more ...string) (store, error) {
	o := optionsFor(name, more...)
	o.RunRoot = runRootOf(home)
	d, err := Init(home, o)
	if err != nil {
		return store{}, err
	}
	inner, ok := d.(interface{ self() *Driver })
	if !ok {
		return store{}, fmt.Errorf("Init returned a %T", d)
	}
	return store{Driver: d, inner: inner.self(), backend: name}, nil
}

// runRootOf is the run root of the store at home.
func runRootOf(home string) string { return home + "-run" }

// applyTo is ApplyDiff of every version of the storage library.
var applyTo = library.ApplyTo

// self reaches the driver through what Init wraps around it.
func (d *Driver) self() *Driver { return d }

// noMounts fails the test if anything is mounted at or under dir.
func noMounts(t *testing.T, dir string) {
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

// noLeftovers fails the test if anything is in the store, in which nothing is mounted, that belongs to no layer.
func noLeftovers(t *testing.T, s store) {
	t.Helper()
	home := string(s.inner.home)
	ids, err := s.ListLayers()
	must(t, err)
	for dir, allowed := range map[string][]string{
		"":     {layersDir, diffDir, mntDir, tmpDir, overlayDir, keptDir},
		tmpDir: nil, "overlay": {"form", "known", "shadow", "work", "watch", "aufs", "lock", "empty", "owners", runRootLink, storeLock, mountsLock},
		layersDir: ids, diffDir: append([]string{besideName}, ids...), mntDir: ids, keptDir: ids, "overlay/shadow": ids, "overlay/lock": ids,
		filepath.Join(diffDir, besideName, tmpDir): nil, filepath.Join(diffDir, besideName, "overlay"): {"shadow", "watch", "work"},
		filepath.Join(diffDir, besideName, "overlay/watch"): ids, filepath.Join(diffDir, besideName, "overlay/shadow"): ids,
		filepath.Join(diffDir, besideName, "overlay/work"): ids, filepath.Join(diffDir, besideName, keptDir): ids,
		"overlay/work": ids, "overlay/watch": ids, "overlay/owners": ids, "overlay/form": ids, "overlay/aufs": nil,
		"overlay/known/aufs": ids, "overlay/known/trusted": ids, "overlay/known/user": ids,
		filepath.Join("..", filepath.Base(runRootOf(home)), filepath.Base(home)): nil,
	} {
		entries, err := os.ReadDir(filepath.Join(home, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
		for _, entry := range entries {
			if !slices.Contains(allowed, entry.Name()) {
				t.Errorf("%s is left", filepath.Join(dir, entry.Name()))
			}
		}
	}
	if problems, err := Check(t.Context(), home); err != nil || len(problems) > 0 {
		t.Errorf("Check: %v, %v", problems, err)
	}
	if xinos, err := filepath.Glob("/dev/shm/aufs-xino-*"); err != nil || len(xinos) > 0 {
		t.Errorf("xino files are left: %v, %v", xinos, err)
	}
}

// must fails the test at once if err is one.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get is Driver.Get, with the Put when the test ends if put was not called before.
func (s store) get(t *testing.T, id string, options ...string) string {
	t.Helper()
	dir, err := s.Get(id, graphdriver.MountOpts{Options: options})
	must(t, err)
	return dir
}

// create makes layers, each on top of the one before.
func (s store) create(t *testing.T, parent string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		must(t, s.Create(id, parent, nil))
		parent = id
	}
}

// change mounts the layer id, calls edit with the place, and unmounts it.
func (s store) change(t *testing.T, id string, edit func(dir string)) {
	t.Helper()
	dir := s.get(t, id)
	edit(dir)
	must(t, s.Put(id))
}

// see returns what a mount of the layer id shows.
func (s store) see(t *testing.T, id string, options ...string) tree {
	t.Helper()
	dir := s.get(t, id, options...)
	seen := readTree(t, dir)
	must(t, s.Put(id))
	return seen
}

// hasForm fails the test unless the layer id is in form f.
func (s store) hasForm(t *testing.T, id string, f whiteout.Form) {
	t.Helper()
	if is, err := s.inner.home.form(id); err != nil || is != f {
		t.Errorf("layer %s is in form %q and not %q, %v", id, is, f, err)
	}
	s.oneForm(t, id)
}

// oneForm fails the test if the layer id has marks of another form than its own.
func (s store) oneForm(t *testing.T, id string) {
	t.Helper()
	r, err := s.inner.home.readForm(id)
	if err != nil || r.converting {
		t.Errorf("layer %s is in form %q, %v", id, r, err)
	}
	for path, node := range readTree(t, s.inner.home.diff(id)) {
		other := strings.HasPrefix(filepath.Base(path), ".wh.")
		if !r.isOverlay() {
			other = strings.Contains(node, "overlay.") || strings.Contains(node, "device 0")
		}
		if other {
			t.Errorf("layer %s in form %q has %s: %s", id, r, path, node)
		}
	}
}

// written is the form of a layer that the store's backend has mounted writable.
func (s store) written() whiteout.Form {
	if s.backend == backendAufs {
		return whiteout.AufsForm
	}
	return ownForm()
}

// tree describes files: by path, all that matters of each.
type tree map[string]string

// readTree describes all files under dir, dir itself included. Times are those of files that are not directories.
func readTree(t *testing.T, dir string) tree {
	t.Helper()
	result := tree{}
	names := map[uint64][]string{}
	must(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
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
	names, err := system.Llistxattr(path)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		return "", err
	}
	sort.Strings(names)
	for _, name := range names {
		value, err := system.Lgetxattr(path, name)
		if err != nil {
			return "", err
		}
		node += fmt.Sprintf(" %s=%q", name, value)
	}
	return node, nil
}

// sameTree fails the test for each file that differs.
func sameTree(t *testing.T, got, want tree) {
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

// names are the paths of a tree, sorted, without that of its root.
func (tr tree) names() []string {
	var names []string
	for name := range tr {
		if name != "." {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names
}

// sameNames fails the test unless got and want hold the same, in whatever order.
func sameNames(t *testing.T, got []string, want ...string) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	sort.Strings(got)
	sort.Strings(want)
	if !slices.Equal(got, want) {
		t.Errorf("\n got  %q\n want %q", got, want)
	}
}

// files are made by write: a path that ends in '/' is a directory, any other a file with that content.
type files map[string]string

// write makes files under dir, with the directories that they want.
func write(t *testing.T, dir string, f files) {
	t.Helper()
	paths := make([]string, 0, len(f))
	for path := range f {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	for _, path := range paths {
		full := filepath.Join(dir, path)
		if strings.HasSuffix(path, "/") {
			must(t, os.MkdirAll(full, 0o755))
			continue
		}
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		must(t, os.WriteFile(full, []byte(f[path]), 0o644))
	}
}

// entry is one of an archive: a directory if the name ends in '/', a hard link if link is set, otherwise a file.
type entry struct {
	name, content, link string
	mode                int64
}

// archiveOf is a tar archive of entries.
func archiveOf(t *testing.T, entries ...entry) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		must(t, e.write(w))
	}
	must(t, w.Close())
	return &b
}

func (e entry) write(w *tar.Writer) error {
	h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.content)), Typeflag: tar.TypeReg}
	switch {
	case strings.HasSuffix(e.name, "/"):
		h.Typeflag = tar.TypeDir
		if e.mode == 0 {
			h.Mode = 0o755
		}
	case e.link != "":
		h.Typeflag, h.Linkname = tar.TypeLink, e.link
	}
	if h.Mode == 0 {
		h.Mode = 0o644
	}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := io.WriteString(w, e.content)
	return err
}

// apply unpacks an archive of entries into the layer id.
func (s store) apply(t *testing.T, id, parent string, entries ...entry) {
	t.Helper()
	_, err := applyTo(s, id, parent, graphdriver.ApplyDiffOpts{Diff: archiveOf(t, entries...)})
	must(t, err)
}

// diff reads the archive that Diff makes.
func (s store) diff(t *testing.T, id, parent string) map[string]*tar.Header {
	t.Helper()
	r, err := s.Diff(id, nil, parent, nil, "")
	must(t, err)
	headers := readArchive(t, r)
	must(t, r.Close())
	return headers
}

// readArchive reads all headers of an archive.
func readArchive(t *testing.T, r io.Reader) map[string]*tar.Header {
	t.Helper()
	headers := map[string]*tar.Header{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return headers
		}
		must(t, err)
		headers[h.Name] = h
	}
}

// keysOf are the names in an archive.
func keysOf(headers map[string]*tar.Header) []string {
	var names []string
	for name := range headers {
		names = append(names, name)
	}
	return names
}

// wants fails the test unless err matches target and its text has all the words.
func wants(t *testing.T, err, target error, words ...string) {
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

// hasUserXattrs tells if files can have attributes of users. On tmpfs they cannot, before Linux 6.6.
func hasUserXattrs(t *testing.T) bool {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	err := system.Lsetxattr(file, "user.test", []byte("v"), 0)
	if err != nil && !errors.Is(err, unix.ENOTSUP) {
		t.Fatal(err)
	}
	return err == nil
}

// archiveBytes is all of archiveOf.
func archiveBytes(t *testing.T, entries ...entry) []byte {
	t.Helper()
	content, err := io.ReadAll(archiveOf(t, entries...))
	must(t, err)
	return content
}

// drain reads an archive to its end, and closes it.
func drain(archive io.ReadCloser) error {
	_, err := io.Copy(io.Discard, archive)
	return errors.Join(err, archive.Close())
}

// threeLayers are base, middle on top of it, and child, which is empty, on top of that; other is beside them.
func threeLayers(t *testing.T, s store) {
	t.Helper()
	s.create(t, "", "base", "middle", "child")
	s.create(t, "", "other")
	s.apply(t, "base", "",
		entry{name: "f", content: "f"}, entry{name: "d/"}, entry{name: "d/f", content: "df"}, entry{name: "d/g", content: "dg"},
		entry{name: "e/"}, entry{name: "e/f", content: "ef"}, entry{name: "link", link: "f"}, entry{name: "x/"}, entry{name: "x/link", link: "f"})
	s.apply(t, "middle", "base",
		entry{name: "d/"}, entry{name: "d/.wh..wh..opq"}, entry{name: "d/h", content: "dh"},
		entry{name: "e/"}, entry{name: "e/.wh.f"}, entry{name: "new", content: "new"})
	s.apply(t, "other", "", entry{name: "f", content: "other"})
}

// newLayer is an archive for a layer on top of middle.
var newLayer = []entry{
	{name: "d/"},
	{name: "d/.wh..wh..opq"},
	{name: "d/new", content: "new"},
	{name: "e/"},
	{name: "e/mine", content: "mine"},
	{name: ".wh.new"},
	{name: "g", content: strings.Repeat("g", 100_000)},
	{name: "same", link: "g"},
	{name: "f/"},
	{name: "f/f", content: "f"},
}

// copyDir copies a directory with all attributes. The library leaves some out, where it is built without C.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	must(t, copy.DirCopy(from, to, copy.Content, true))
	must(t, filepath.WalkDir(from, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		names, err := fsutil.ListXattrs(path)
		for _, name := range names {
			value, gerr := system.Lgetxattr(path, name)
			err = errors.Join(err, gerr, system.Lsetxattr(to+strings.TrimPrefix(path, from), name, value, 0))
		}
		return err
	}))
}
