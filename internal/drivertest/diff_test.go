//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containers/storage/pkg/archive"
	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/store"
	"github.com/seed-642172e2/aufs/internal/core/unpack"
	"github.com/seed-642172e2/aufs/internal/core/whiteout"
	"golang.org/x/sys/unix"
)

// baseFiles and changeIt make a layer that changes its parent in every possible way.
var baseFiles = files{
	"kept": "kept", "modified": "old", "deleted": "x", "dir/kept": "k", "dir/deleted": "x",
	"replaced/old": "x", "replaced/sub/old": "x", "gone/a": "x", "gone/b": "x", "becomesdir": "x", "becomesfile/f": "x",
}

func changeIt(t *testing.T, dir string) {
	t.Helper()
	for _, path := range []string{"deleted", "dir/deleted", "replaced", "gone", "becomesdir", "becomesfile"} {
		must(t, os.RemoveAll(filepath.Join(dir, path)))
	}
	write(t, dir, files{
		"modified": "newer", "added": "a", "newdir/f": "f",
		"replaced/new": "n", "becomesdir/f": "f", "becomesfile": "f",
	})
}

// changed makes a store with the layer base, and the layer child on top of base, which changeIt has changed.
func changed(t *testing.T, name backend.Name) testStore {
	t.Helper()
	s := newStore(t, name)
	s.create(t, "", "base")
	write(t, s.inner.Home.Diff("base"), baseFiles)
	s.create(t, "base", "child")
	s.change(t, "child", func(dir string) { changeIt(t, dir) })
	return s
}

// wantedDiff lists the names that the archive of child must have.
var wantedDiff = []string{
	"modified", "added", "newdir/", "newdir/f", ".wh.deleted", "dir/", "dir/.wh.deleted", ".wh.gone",
	"replaced/", "replaced/new", "replaced/.wh..wh..opq", "becomesdir/", "becomesdir/f", "becomesfile",
}

func TestDiff(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := changed(t, name)
		got := keysOf(s.diff(t, "child", "base"))
		// A directory that replaces a file may have an opaque mark or not; both mean the same.
		got = slices.DeleteFunc(got, func(name string) bool { return name == "becomesdir/.wh..wh..opq" || name == ".wh.becomesdir" })
		sameNames(t, got, wantedDiff...)
		if h := s.diff(t, "base", "")["dir/kept"]; h == nil || h.Size != 1 {
			t.Errorf("the archive of the base lacks dir/kept: %v", h)
		}
	})
}

// TestDiffWhileMounted shows that the archive of a layer is the same in use as at rest.
func TestDiffWhileMounted(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := changed(t, name)
		atRest := keysOf(s.diff(t, "child", "base"))
		size, err := s.DiffSize("child", nil, "base", nil)
		must(t, err)
		changes, err := s.Changes("child", nil, "base", nil)
		must(t, err)
		s.get(t, "child")
		sameNames(t, keysOf(s.diff(t, "child", "base")), atRest...)
		if got, err := s.DiffSize("child", nil, "base", nil); err != nil || got != size {
			t.Errorf("DiffSize is %d, %v; at rest %d", got, err, size)
		}
		if got, err := s.Changes("child", nil, "base", nil); err != nil || !slices.Equal(got, changes) {
			t.Errorf("Changes are %v, %v\nat rest %v", got, err, changes)
		}
		must(t, s.Put("child"))
		s.oneForm(t, "child")
	})
}

// TestDiffAndApply archives a layer, applies the archive to another layer, and compares what mounts of both show.
func TestDiffAndApply(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := changed(t, name)
		want := s.see(t, "child")
		r, err := s.Diff("child", nil, "base", nil)
		must(t, err)
		content, err := io.ReadAll(r)
		must(t, err)
		must(t, r.Close())
		s.create(t, "base", "again")
		size, err := s.ApplyDiff("again", "base", driver.ApplyOptions{Diff: bytes.NewReader(content)})
		must(t, err)
		if got, err := s.DiffSize("child", nil, "base", nil); err != nil || got != size {
			t.Errorf("ApplyDiff says %d, DiffSize %d, %v", size, got, err)
		}
		got := s.see(t, "again")
		delete(got, ".")
		delete(want, ".")
		// Archives have times in whole seconds, so compare without times.
		sameNames(t, got.Names(), want.Names()...)
		for _, path := range []string{"modified", "replaced/new", "becomesdir/f", "becomesfile", "kept"} {
			a, aerr := os.ReadFile(filepath.Join(s.get(t, "again"), path))
			b, berr := os.ReadFile(filepath.Join(s.get(t, "child"), path))
			must(t, aerr)
			must(t, berr)
			if !bytes.Equal(a, b) {
				t.Errorf("%s: %q and %q", path, a, b)
			}
			must(t, s.Put("again"))
			must(t, s.Put("child"))
		}
	})
}

// TestDiffHasNoUselessMarks shows that the archive of a layer in overlay form has the opaque marks of those directories alone that are in the place
// of something. Overlayfs before Linux 5.15 marks others as well.
func TestDiffHasNoUselessMarks(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "child")
		s.apply(t, "base", "", entry{Name: "both/"}, entry{Name: "far/"}, entry{Name: "gone/"}, entry{Name: "file"}, entry{Name: "turned/"},
			entry{Name: "cleared/"}, entry{Name: "cleared/old/"})
		s.apply(t, "middle", "base", entry{Name: "both/"}, entry{Name: ".wh.gone"}, entry{Name: "turned"},
			entry{Name: "cleared/"}, entry{Name: "cleared/" + whiteout.OpaqueMark})
		must(t, s.inner.Home.SetForm("child", store.FormRecord{Form: whiteout.OverlayTrusted}))
		var want []string
		for path, replaces := range map[string]bool{
			"both": true, "far": true, "cleared": true, "file": true, "turned": true,
			"cleared/old": false, "file/new": false, "gone": false, "new": false, "new/deep": false,
		} {
			dir := filepath.Join(s.inner.Home.Diff("child"), path)
			must(t, os.MkdirAll(dir, 0o755))
			must(t, unix.Lsetxattr(dir, whiteout.OverlayTrusted.XattrPrefix()+"opaque", []byte("y"), 0))
			if want = append(want, path+"/"); replaces {
				want = append(want, path+"/"+whiteout.OpaqueMark)
			}
		}
		sameNames(t, keysOf(s.diff(t, "child", "middle")), want...)
	})
}

// TestDiffWithoutAnAncestor shows that the archive of a layer has all of its files, and keeps its opaque marks, if an ancestor has lost its
// directory.
func TestDiffWithoutAnAncestor(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "middle", "child")
		must(t, s.inner.Home.SetForm("child", store.FormRecord{Form: whiteout.OverlayTrusted}))
		dir := s.inner.Home.Diff("child")
		write(t, dir, files{"d/f": "f", "d/e/f": "f"})
		for _, path := range []string{"d", "d/e"} {
			must(t, unix.Lsetxattr(filepath.Join(dir, path), whiteout.OverlayTrusted.XattrPrefix()+"opaque", []byte("y"), 0))
		}
		must(t, os.RemoveAll(s.inner.Home.Diff("base")))
		sameNames(t, keysOf(s.diff(t, "child", "middle")), "d/", "d/"+whiteout.OpaqueMark, "d/f", "d/e/", "d/e/"+whiteout.OpaqueMark, "d/e/f")
	})
}

// TestDiffHeaders shows that archives have times in whole seconds, rounded down, and that each whiteout is a file of its own, on a mounted
// layer as well.
func TestDiffHeaders(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		write(t, s.inner.Home.Diff("base"), files{"a": "", "b": "", "c": ""})
		dir := s.get(t, "child")
		for _, path := range []string{"a", "b", "c"} {
			must(t, os.Remove(filepath.Join(dir, path)))
		}
		then := time.Unix(1000, 700_000_000)
		write(t, s.inner.Home.Diff("base"), files{"f": "f"})
		must(t, os.Chtimes(filepath.Join(s.inner.Home.Diff("base"), "f"), then, then))
		mounted := s.diff(t, "child", "base")
		must(t, s.Put("child"))
		for _, headers := range []map[string]*tar.Header{mounted, s.diff(t, "child", "base")} {
			for _, path := range []string{".wh.a", ".wh.b", ".wh.c"} {
				if h := headers[path]; h == nil || h.Typeflag != tar.TypeReg || h.Size != 0 {
					t.Errorf("%s is %+v", path, h)
				}
			}
		}
		if h := s.diff(t, "base", "")["f"]; h == nil || !h.ModTime.Equal(time.Unix(1000, 0)) {
			t.Errorf("f is %+v", h)
		}
	})
}

func TestDiffHonoursIDMappings(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		maps := []idmap.Map{{ContainerID: 0, HostID: 100000, Size: 65536}}
		mappings := idmapsOf(maps, maps)
		_, err := s.ApplyDiff("child", "base", driver.ApplyOptions{
			Diff: archiveOf(t, entry{Name: "f", Content: "f"}, entry{Name: ".wh.x"}), Mappings: mappings,
		})
		must(t, err)
		info, err := os.Lstat(filepath.Join(s.inner.Home.Diff("child"), "f"))
		must(t, err)
		if uid := fsutil.StatOf(info).Uid; uid != 100000 {
			t.Errorf("on disk it belongs to %d", uid)
		}
		r, err := s.Diff("child", mappings, "base", mappings)
		must(t, err)
		defer r.Close()
		headers := readArchive(t, r)
		if h := headers["f"]; h == nil || h.Uid != 0 || h.Gid != 0 {
			t.Errorf("in the archive it is %+v", h)
		}
		if headers[".wh.x"] == nil {
			t.Error("the whiteout is gone")
		}
	})
}

// TestOwnFilesNeverShow shows that nobody sees the files that aufs keeps in a writable branch.
func TestOwnFilesNeverShow(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"x": "x"})
		s.create(t, "base", "child")
		dir := s.inner.Home.Diff("child")
		write(t, dir, files{
			"f": "12345", ".wh..wh.aufs": "", ".wh..wh.orph/": "", ".wh..wh.plnk/11.12": "99", ".wh.x": "", "d/.wh..wh..opq": "",
		})
		sameNames(t, keysOf(s.diff(t, "child", "base")), "f", ".wh.x", "d/", "d/.wh..wh..opq")
		changes, err := s.Changes("child", nil, "base", nil)
		must(t, err)
		if want := []layerdiff.Change{{Path: "/d", Kind: layerdiff.ChangeAdd}, {Path: "/f", Kind: layerdiff.ChangeAdd}, {Path: "/x", Kind: layerdiff.ChangeDelete}}; !slices.Equal(changes, want) {
			t.Errorf("changes: %v", changes)
		}
		usage, err := s.ReadWriteDiskUsage("child")
		if err != nil || usage.Size != 5 || usage.Inodes != 3 {
			t.Errorf("usage: %+v, %v", usage, err)
		}
		if size, err := s.DiffSize("child", nil, "base", nil); err != nil || size != 5 {
			t.Errorf("size: %d, %v", size, err)
		}
		if name == backend.Overlay {
			// A mount and the archive of a mounted layer do not have them either. Nor does that have the opaque mark, which hides nothing.
			sameNames(t, readTree(t, s.get(t, "child")).Names(), "f", "d")
			sameNames(t, keysOf(s.diff(t, "child", "base")), "f", ".wh.x", "d/")
			must(t, s.Put("child"))
		}
	})
}

// TestReadWriteDiskUsage shows that the usage is that of the writable branch alone, without the ancestors.
func TestReadWriteDiskUsage(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"big": "0123456789", "x": ""})
		s.create(t, "base", "child")
		dir := s.get(t, "child")
		write(t, dir, files{"d/f": "123"})
		must(t, os.Link(filepath.Join(dir, "d/f"), filepath.Join(dir, "link")))
		must(t, os.Remove(filepath.Join(dir, "x")))
		for range 2 {
			usage, err := s.ReadWriteDiskUsage("child")
			if err != nil || usage.Size != 3 || usage.Inodes != 3 {
				t.Errorf("usage: %+v, %v", usage, err)
			}
			must(t, s.Put("child"))
		}
	})
}

// TestApplyReplacements applies an archive that deletes names and brings them again.
func TestApplyReplacements(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"d/old": "x", "f": "old", "g": "x"})
		s.create(t, "base", "child")
		s.apply(t, "child", "base",
			entry{Name: ".wh.d"}, entry{Name: "d/"}, entry{Name: "d/new", Content: "n"}, entry{Name: "f", Content: "new"}, entry{Name: ".wh.f"},
			entry{Name: ".wh.g"}, entry{Name: "h", Content: "h"}, entry{Name: "link", Link: "h"})
		sameNames(t, s.see(t, "child").Names(), "d", "d/new", "f", "h", "link")
		sameNames(t, s.see(t, "child", "ro").Names(), "d", "d/new", "f", "h", "link")
	})
}

// TestApplyDirectoryOverFile applies an archive that has a directory where the parent has a file. That file hides a directory of the
// grandparent, whose content stays hidden.
func TestApplyDirectoryOverFile(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "old", "file", "new", "top")
		s.apply(t, "old", "", entry{Name: "d/e/old"}, entry{Name: "d/same"})
		s.apply(t, "file", "old", entry{Name: "d/e", Content: "a file"})
		s.apply(t, "new", "file", entry{Name: "d/"}, entry{Name: "d/e/"}, entry{Name: "d/e/new"})
		for _, layer := range []string{"new", "top"} {
			sameNames(t, s.see(t, layer).Names(), "d", "d/same", "d/e", "d/e/new")
			sameNames(t, s.see(t, layer, "ro").Names(), "d", "d/same", "d/e", "d/e/new")
		}
		sameNames(t, s.changes(t, "new", "file"), "C /d", "C /d/e", "A /d/e/new")
	})
}

// TestTakePlaceWithoutSync shows that TakePlace puts the directories back if it cannot make the exchange durable.
func TestTakePlaceWithoutSync(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, files{"made/f": "f", "diff/layer/": ""})
	made, layer := filepath.Join(dir, "made"), filepath.Join(dir, "diff", "layer")
	t.Run("failing", func(t *testing.T) {
		runtime.LockOSThread() // see withOpenat2AndWithout
		failCall(t, unix.SYS_FSYNC, unix.EIO)
		wants(t, unpack.TakePlace(made, layer), unix.EIO, "diff")
	})
	sameNames(t, readTree(t, made).Names(), "f")
	sameNames(t, readTree(t, layer).Names())
	must(t, unpack.TakePlace(made, layer))
	sameNames(t, readTree(t, layer).Names(), "f")
}

// TestApplyOldArchives applies an archive that has aufs's own files in it, and a hard link to one of them.
func TestApplyOldArchives(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		s.apply(t, "child", "base",
			entry{Name: ".wh..wh.plnk/"}, entry{Name: ".wh..wh.plnk/11.12", Content: "p"}, entry{Name: "a", Link: ".wh..wh.plnk/11.12"},
			entry{Name: ".wh..wh.aufs"}, entry{Name: ".wh..wh.orph/"}, entry{Name: ".wh..wh..opq"})
		sameNames(t, readTree(t, s.inner.Home.Diff("child")).Names(), "a", ".wh..wh..opq")
		sameNames(t, s.see(t, "child").Names(), "a")
	})
}

func TestApplyNoArchive(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		if _, err := s.ApplyDiff("base", "", driver.ApplyOptions{}); err == nil {
			t.Error("there is no archive, and no error")
		}
		sameNames(t, readTree(t, s.inner.Home.Diff("base")).Names())
	})
}

// TestApplyToAMountedLayer applies an archive through the mount of a layer, which must show the files.
func TestApplyToAMountedLayer(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"x": "x", "d/old": "o"})
		s.create(t, "base", "child")
		dir := s.get(t, "child")
		s.apply(t, "child", "base", entry{Name: "f", Content: "f"}, entry{Name: ".wh.x"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/new", Content: "n"})
		sameNames(t, readTree(t, dir).Names(), "f", "d", "d/new")
		must(t, s.Put("child"))
		s.oneForm(t, "child")
		sameNames(t, s.see(t, "child").Names(), "f", "d", "d/new")
	})
}

func TestUpdateLayerIDMap(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("base"), files{"f": "f", "d/g": "g", "e": "e"})
		must(t, os.Lchown(filepath.Join(s.inner.Home.Diff("base"), "f"), 5, 6))
		s.create(t, "base", "mapped")
		hostMaps := []idmap.Map{{ContainerID: 0, HostID: 100000, Size: 65536}}
		must(t, s.UpdateLayerIDMap("mapped", &idmap.Mappings{}, idmapsOf(hostMaps, hostMaps), ""))
		s.oneForm(t, "mapped")
		dir := s.get(t, "mapped")
		for path, want := range map[string][2]uint32{"f": {100005, 100006}, "e": {100000, 100000}, "d": {100000, 100000}, "d/g": {100000, 100000}} {
			info, err := os.Lstat(filepath.Join(dir, path))
			must(t, err)
			if st := fsutil.StatOf(info); st.Uid != want[0] || st.Gid != want[1] {
				t.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
			}
		}
		must(t, s.Put("mapped"))
		// The base is unchanged.
		info, err := os.Lstat(filepath.Join(s.inner.Home.Diff("base"), "f"))
		must(t, err)
		if fsutil.StatOf(info).Uid != 5 {
			t.Error("the parent was changed")
		}
	})
}

// TestTwoAppliesAtOnce has two drivers apply an archive each to the same layer at once: the layer has all that was reported as applied.
func TestTwoAppliesAtOnce(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		drivers := []testStore{s, openStore(t, string(s.inner.Home), name)}
		s.create(t, "", "base")
		for n := range 5 {
			id := fmt.Sprintf("layer%d", n)
			s.create(t, "base", id)
			archives := []io.Reader{
				archiveOf(t, entry{Name: "0", Content: "0"}, entry{Name: "d/"}, entry{Name: "d/0", Content: "0"}),
				archiveOf(t, entry{Name: "1", Content: "1"}, entry{Name: "d/"}, entry{Name: "d/1", Content: "1"}),
			}
			errs := make([]error, len(drivers))
			var wg sync.WaitGroup
			for i, d := range drivers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					_, errs[i] = d.ApplyDiff(id, "base", driver.ApplyOptions{Diff: archives[i]})
				}()
			}
			wg.Wait()
			names := s.see(t, id).Names()
			for i, err := range errs {
				must(t, err)
				for _, want := range []string{fmt.Sprint(i), fmt.Sprintf("d/%d", i)} {
					if !slices.Contains(names, want) {
						t.Errorf("%s was applied and is not there: %q", want, names)
					}
				}
			}
		}
		for _, d := range drivers {
			must(t, d.Cleanup())
		}
		noLeftovers(t, s)
	})
}

// TestNamesThatAufsHides has files that nobody can open on aufs. One is beside its own whiteout: the in-tree driver unpacks some archives
// like that. The other is what aufs was about to remove when the host went down. Aufs may list the former, depending on the order of the
// names in its directory, and returns EIO then.
func TestNamesThatAufsHides(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		s.apply(t, "base", "", entry{Name: "foo", Content: "f"}, entry{Name: "sub/"}, entry{Name: "sub/d/"}, entry{Name: "sub/d/x", Content: "x"})
		write(t, s.inner.Home.Diff("child"), files{".wh.foo": "", "foo": "new", "sub/.wh.d": "", "sub/.wh..wh.d.0001/.wh.x": "", "sub/.wh..wh.d.0001/y": "y"})
		changes, err := s.Changes("child", nil, "base", nil)
		must(t, err)
		var changed []string
		for _, change := range changes {
			changed = append(changed, change.String())
		}
		slices.Sort(changed)
		sameNames(t, changed, "C /sub", "D /foo", "D /sub/d")
		sameNames(t, keysOf(s.diff(t, "child", "base")), ".wh.foo", "sub/", "sub/.wh.d")
		if name == backend.Aufs {
			s.create(t, "base", "cut")
			write(t, s.inner.Home.Diff("cut"), files{"sub/.wh.d": "", "sub/.wh..wh.d.0001/.wh.x": "", "sub/.wh..wh.d.0001/y": "y"})
			sameNames(t, s.see(t, "cut").Names(), "foo", "sub")
		}
	})
}

// TestNamesBesideTheirWhiteouts has a container make an empty file .wh.d beside a directory d, as tar does that unpacks an archive of a layer.
// Overlayfs shows both. In an archive, the file hides what ancestors have in d, and nothing of the layer itself.
func TestNamesBesideTheirWhiteouts(t *testing.T) {
	s := newStore(t, backend.Overlay)
	s.create(t, "", "base")
	s.apply(t, "base", "", entry{Name: "d/"}, entry{Name: "d/base", Content: "b"})
	s.create(t, "base", "parent")
	s.change(t, "parent", func(dir string) {
		write(t, dir, files{".wh.d": "", "d/old": "o", "d/sub/old": "o"})
	})
	sameNames(t, s.changes(t, "parent", "base"), "A /d/old", "A /d/sub", "A /d/sub/old", "C /d", "D /d/base")
	sameNames(t, keysOf(s.diff(t, "parent", "base")), ".wh.d", "d/", "d/old", "d/sub/", "d/sub/old")

	s.create(t, "parent", "all")
	s.create(t, "parent", "sub")
	s.change(t, "all", func(dir string) {
		must(t, os.RemoveAll(filepath.Join(dir, "d")))
		write(t, dir, files{"d/new": "n"})
	})
	s.change(t, "sub", func(dir string) {
		must(t, os.RemoveAll(filepath.Join(dir, "d/sub")))
		write(t, dir, files{"d/sub/new": "n"})
	})
	sameNames(t, s.changes(t, "all", "parent"), "A /d/new", "C /d", "D /d/old", "D /d/sub")
	sameNames(t, s.changes(t, "sub", "parent"), "A /d/sub/new", "C /d", "C /d/sub", "D /d/sub/old")
	for _, id := range []string{"all", "sub"} {
		s.create(t, "parent", id+"-unpacked")
		must(t, s.applyBytes(id+"-unpacked", "parent", readDiff(t, s, id, "parent", nil)))
		sameNames(t, s.see(t, id+"-unpacked").Names(), s.see(t, id).Names()...)
	}
}

// TestAncestorBesideItsWhiteouts has a container on overlayfs make d and f beside empty files .wh.d and .wh.f, and delete files under names that aufs
// keeps for itself. The aufs backend shows a container on top of that what the archive of the layer has.
func TestAncestorBesideItsWhiteouts(t *testing.T) {
	onBoth(t, func(t *testing.T) {
		s := newStore(t, backend.Overlay)
		s.create(t, "", "base", "parent", "child")
		s.apply(t, "base", "", entry{Name: "d/base"}, entry{Name: "f"})
		s.change(t, "parent", func(dir string) {
			write(t, dir, files{".wh.d": "", "d/new": "n", ".wh.f": "", "f": "n", ".wh.e/x": ""})
		})
		for _, name := range []string{"d/.wh..opq", ".wh.e/y"} {
			device(t, filepath.Join(s.inner.Home.Diff("parent"), name))
		}
		must(t, s.Cleanup())
		s = openStore(t, string(s.inner.Home), backend.Aufs)
		s.create(t, "base", "unpacked")
		must(t, s.applyBytes("unpacked", "base", readDiff(t, s, "parent", "base", nil)))
		sameNames(t, s.see(t, "unpacked").Names(), "d", "d/new", "f")
		child := s.get(t, "child")
		sameNames(t, readTree(t, child).Names(), "d", "d/new", "f")
		if _, err := os.Lstat(filepath.Join(child, "e")); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		must(t, s.Put("child"))
	})
}

// TestInodeUsedAgain has a container remove a file with several names, which is in the archive already, and make another file that gets the
// same inode.
func TestInodeUsedAgain(t *testing.T) {
	s := newStore(t, backend.Overlay)
	s.create(t, "", "base")
	dir := s.inner.Home.Diff("base")
	write(t, dir, files{"a": "first", "large": strings.Repeat("x", 4<<20), "z/keep": ""})
	must(t, os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")))
	first, err := os.Lstat(filepath.Join(dir, "a"))
	must(t, err)
	held, err := layerdiff.Hold(s.inner.Stores.Own("base"))
	must(t, err)
	reader := layerdiff.Archive(held, whiteout.AufsForm, nil, &idmap.Mappings{}, nil, true, archive.FileInfoHeader)
	defer reader.Close()
	r := tar.NewReader(reader)
	links := map[string]string{}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if h.Typeflag == tar.TypeLink {
			links[h.Name] = h.Linkname
		}
		if h.Name != "large" {
			continue
		}
		must(t, errors.Join(os.Remove(filepath.Join(dir, "a")), os.Remove(filepath.Join(dir, "b"))))
		for i := range 50 {
			path := filepath.Join(dir, "z", fmt.Sprintf("new%d", i))
			must(t, os.WriteFile(path, []byte("second one"), 0o600))
			must(t, os.Link(path, path+"-again"))
			info, err := os.Lstat(path)
			must(t, err)
			if fsutil.StatOf(info).Ino == fsutil.StatOf(first).Ino {
				break
			}
		}
	}
	if links["b"] != "a" {
		t.Errorf("b is a link to %q", links["b"])
	}
	for name, to := range links {
		if strings.HasPrefix(name, "z/") && name != to+"-again" {
			t.Errorf("%s is archived as a link to %s", name, to)
		}
	}
}

// needUserXattrs skips the test if files cannot have attributes user.*: on tmpfs they can since Linux 6.6.
func needUserXattrs(t *testing.T) {
	t.Helper()
	if !hasUserXattrs(t) {
		t.Skipf("files on this %s have no attributes user.*", fsName(t.TempDir()))
	}
}

func TestAttributeThatNoArchiveHolds(t *testing.T) {
	needUserXattrs(t)
	s := newStore(t, backend.Overlay)
	s.create(t, "", "base")
	write(t, s.inner.Home.Diff("base"), files{"f": ""})
	must(t, system.Lsetxattr(filepath.Join(s.inner.Home.Diff("base"), "f"), "user.a=b", []byte("x"), 0))
	archive, err := s.Diff("base", nil, "", nil)
	must(t, err)
	defer archive.Close()
	if _, err := io.Copy(io.Discard, archive); err == nil || !strings.Contains(err.Error(), `diff/base/f: an archive cannot hold the attribute "user.a=b"`) {
		t.Errorf("got %v", err)
	}
}

// TestApplyDiffSize shows that ApplyDiff and DiffSize return the right size, also for archives whose entries do not simply add up to it.
func TestApplyDiffSize(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		s.apply(t, "base", "", entry{Name: "old", Content: "old"}, entry{Name: "d/"}, entry{Name: "d/old", Content: "old"})
		for id, c := range map[string]struct {
			want    int64
			entries []entry
		}{
			"nothing":           {0, nil},
			"files":             {5, []entry{{Name: "a", Content: "12"}, {Name: "d/"}, {Name: "d/b", Content: "345"}}},
			"a name twice":      {3, []entry{{Name: "a", Content: "12345"}, {Name: "a", Content: "123"}}},
			"a file for a dir":  {2, []entry{{Name: "x/y", Content: "12345"}, {Name: "x", Content: "12"}}},
			"two names":         {2, []entry{{Name: "a", Content: "12"}, {Name: "b", Link: "a"}}},
			"whiteouts":         {2, []entry{{Name: ".wh.old"}, {Name: "d/"}, {Name: "d/.wh.old", Content: "not empty"}, {Name: "d/a", Content: "12"}}},
			"deleted and there": {3, []entry{{Name: ".wh.old"}, {Name: "old", Content: "new"}}},
			"opaque":            {1, []entry{{Name: "d/"}, {Name: "d/.wh..wh..opq"}, {Name: "d/a", Content: "1"}}},
			"files of aufs":     {1, []entry{{Name: ".wh..wh.aufs", Content: "12"}, {Name: "a", Content: "1"}}},
		} {
			id = strings.ReplaceAll(id, " ", "-")
			s.create(t, "base", id)
			size, err := s.ApplyDiff(id, "base", driver.ApplyOptions{Diff: bytes.NewReader(archiveBytes(t, c.entries...))})
			measured, merr := s.DiffSize(id, nil, "base", nil)
			if must(t, errors.Join(err, merr)); size != c.want || measured != c.want {
				t.Errorf("%s: ApplyDiff says %d, DiffSize %d, and it is %d", id, size, measured, c.want)
			}
		}
	})
}

// TestArchiveIsInOneOrder shows that the archive of a layer has the same order in both forms.
func TestArchiveIsInOneOrder(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "layer")
		s.apply(t, "base", "", entry{Name: "d/x"}, entry{Name: "gone"})
		s.apply(t, "layer", "base", entry{Name: "d/"}, entry{Name: "d/.wh..wh..opq"}, entry{Name: "d/-first"}, entry{Name: "d/.a"}, entry{Name: "d/z"},
			entry{Name: ".wh.gone"}, entry{Name: "a"})
		var names []string
		for _, d := range []direction{{name: "as it was unpacked", convert: func(testStore, string) error { return nil }}, directions[1], directions[0]} {
			must(t, d.convert(s, "layer"))
			r, err := s.Diff("layer", nil, "base", nil)
			must(t, err)
			var now []string
			for archived := tar.NewReader(r); ; {
				h, err := archived.Next()
				if errors.Is(err, io.EOF) {
					break
				}
				must(t, err)
				now = append(now, h.Name)
			}
			must(t, r.Close())
			if names == nil {
				names = now
			}
			if !slices.Equal(now, names) {
				t.Errorf("%s: %q, and %q before", d.name, now, names)
			}
		}
	})
}
