//go:build linux

package drivertest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layerdiff"
	"github.com/seed-642172e2/aufs/internal/core/store"
)

func TestCreateWritesTheLayout(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child", "grandchild")
		for id, want := range map[string]string{"base": "", "child": "base\n", "grandchild": "child\nbase\n"} {
			got, err := os.ReadFile(s.inner.Home.Layers(id))
			if err != nil || string(got) != want {
				t.Errorf("layers/%s: %q, %v", id, got, err)
			}
			if !s.Exists(id) {
				t.Errorf("%s does not exist", id)
			}
		}
		ids, err := s.ListLayers()
		must(t, err)
		sameNames(t, ids, "base", "child", "grandchild")
		if s.Exists("nobody") || s.Exists("") || s.Exists("..") || s.Exists("../layers/base") {
			t.Error("a layer exists that was not made")
		}
	})
}

func TestCreateRootDirectory(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		root := func(id string) (fs.FileMode, uint32, uint32) {
			info, err := os.Lstat(s.inner.Home.Diff(id))
			must(t, err)
			return info.Mode() &^ fs.ModeDir, fsutil.StatOf(info).Uid, fsutil.StatOf(info).Gid
		}
		s.create(t, "", "base")
		if mode, uid, gid := root("base"); mode != 0o555 || uid != 0 || gid != 0 {
			t.Errorf("base: %v %d:%d", mode, uid, gid)
		}
		mappings := idmapsOf(
			[]idmap.Map{{ContainerID: 0, HostID: 100000, Size: 1000}}, []idmap.Map{{ContainerID: 0, HostID: 200000, Size: 1000}})
		must(t, s.Create("mapped", "", &driver.CreateOptions{IDMappings: mappings}))
		if mode, uid, gid := root("mapped"); mode != 0o555 || uid != 100000 || gid != 200000 {
			t.Errorf("mapped: %v %d:%d", mode, uid, gid)
		}
		must(t, os.Chown(s.inner.Home.Diff("base"), 7, 8))
		must(t, os.Chmod(s.inner.Home.Diff("base"), 0o711|fs.ModeSetgid|fs.ModeSticky))
		must(t, s.CreateReadWrite("child", "base", nil))
		if mode, uid, gid := root("child"); mode != 0o711|fs.ModeSetgid|fs.ModeSticky || uid != 7 || gid != 8 {
			t.Errorf("child: %v %d:%d", mode, uid, gid)
		}
		// The mount shows these bits as well.
		if got := s.see(t, "child")["."]; got[:len("dgt-")-1] != "dgt" {
			t.Errorf("the mount's root is %s", got)
		}
	})
}

// badIDs are ids that every function refuses.
var badIDs = []string{"", ".", "..", "a/b", "/etc", "../diff", "a\x00"}

func TestBadIDsAreRefusedEverywhere(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		before := readTree(t, string(s.inner.Home))
		for _, id := range badIDs {
			calls := map[string]error{
				"Create":          s.Create(id, "", nil),
				"CreateReadWrite": s.CreateReadWrite(id, "base", nil),
				"Template":        s.CreateFromTemplate(id, "base", nil, true),
				"Remove":          s.Remove(id),
				"Put":             s.Put(id),
			}
			if id != "" {
				calls["parent"] = s.Create("child", id, nil)
				calls["template"] = s.CreateFromTemplate("child", id, nil, true)
			}
			_, calls["Get"] = s.Get(id, driver.GetOptions{})
			_, calls["Metadata"] = s.Metadata(id)
			_, calls["ReadWriteDiskUsage"] = s.ReadWriteDiskUsage(id)
			_, calls["Diff"] = s.Diff(id, nil, "", nil)
			_, calls["DiffSize"] = s.DiffSize(id, nil, "", nil)
			_, calls["DiffGetter"] = s.inner.DiffGetter(id)
			_, calls["Changes"] = s.Changes(id, nil, "", nil)
			_, calls["ApplyDiff"] = s.ApplyDiff(id, "", driver.ApplyOptions{Diff: archiveOf(t, entry{Name: "f"})})
			calls["UpdateLayerIDMap"] = s.UpdateLayerIDMap(id, &idmap.Mappings{}, &idmap.Mappings{}, "")
			_, calls["DeferredRemove"] = s.DeferredRemove(id)
			for call, err := range calls {
				if err == nil {
					t.Errorf("%s(%q) is no error", call, id)
				}
			}
			if s.Exists(id) {
				t.Errorf("Exists(%q)", id)
			}
		}
		sameTree(t, readTree(t, string(s.inner.Home)), before)
	})
}

func TestUnknownIDsAreErrors(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		calls := map[string]error{"UpdateLayerIDMap": s.UpdateLayerIDMap("nobody", &idmap.Mappings{}, &idmap.Mappings{}, "")}
		_, calls["Get"] = s.Get("nobody", driver.GetOptions{})
		_, calls["Metadata"] = s.Metadata("nobody")
		_, calls["ReadWriteDiskUsage"] = s.ReadWriteDiskUsage("nobody")
		_, calls["Diff"] = s.Diff("nobody", nil, "", nil)
		_, calls["DiffSize"] = s.DiffSize("nobody", nil, "", nil)
		_, calls["DiffGetter"] = s.inner.DiffGetter("nobody")
		_, calls["Changes"] = s.Changes("nobody", nil, "", nil)
		_, calls["ApplyDiff"] = s.ApplyDiff("nobody", "", driver.ApplyOptions{Diff: archiveOf(t)})
		for call, err := range calls {
			t.Run(call, func(t *testing.T) { wants(t, err, store.ErrLayerUnknown, "nobody") })
		}
		// The storage library calls os.IsNotExist on the error of Put.
		if err := s.Put("nobody"); !os.IsNotExist(err) {
			t.Errorf("Put: %v", err)
		}
		if err := s.Remove("nobody"); err != nil {
			t.Errorf("Remove: %v", err)
		}
	})
}

func TestCreateFailures(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		before := readTree(t, string(s.inner.Home))
		wants(t, s.Create("child", "nobody", nil), store.ErrLayerUnknown, "child", "nobody")
		wants(t, s.Create("base", "", nil), fs.ErrExist, "base")
		quotas := map[string]string{"size": "1G", "Inodes": "7"}
		wants(t, s.Create("child", "base", &driver.CreateOptions{StorageOpt: quotas}), nil, "child", "size=1G", "Inodes=7", "mounted writable")
		wants(t, s.Create("child", "base", &driver.CreateOptions{StorageOpt: map[string]string{"color": "red"}}), nil, "child", "color=red", "mounted writable")
		wants(t, s.Create("a,b", "", nil), nil, "a,b")
		wants(t, s.Create("x-removing", "", nil), nil, "x-removing")
		sameTree(t, readTree(t, string(s.inner.Home)), before)
	})
}

// TestCreateLeavesNothingBehind makes each step of Create fail in turn.
func TestCreateLeavesNothingBehind(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, blocked := range []string{store.MntDir, store.TmpDir, store.DiffDir} {
			t.Run(blocked, func(t *testing.T) {
				s := newStore(t, name)
				s.create(t, "", "base")
				dir := filepath.Join(string(s.inner.Home), blocked)
				// Not even root can create a name in a directory that is gone.
				away := filepath.Join(string(s.inner.Home), "away")
				must(t, os.Rename(dir, away))
				err := s.Create("child", "base", nil)
				must(t, os.Rename(away, dir))
				wants(t, err, fs.ErrNotExist, "child")
				if s.Exists("child") {
					t.Error("the layer exists")
				}
				for _, path := range s.inner.Home.Belongings("child") {
					if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
						t.Errorf("%s: %v", path, err)
					}
				}
				s.create(t, "base", "child")
			})
		}
	})
}

// TestCreateAfterCrash creates a layer over what a killed Create has left.
func TestCreateAfterCrash(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		write(t, s.inner.Home.Diff("child"), files{"junk": "old"})
		must(t, os.Mkdir(s.inner.Home.Mnt("child"), 0o700))
		if s.Exists("child") {
			t.Error("it exists without its layers file")
		}
		s.create(t, "base", "child")
		sameNames(t, s.see(t, "child").Names())
	})
}

func TestCreateFromTemplate(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "template")
		write(t, s.inner.Home.Diff("base"), files{"a": "a", "b": "b"})
		s.change(t, "template", func(dir string) {
			must(t, os.Remove(filepath.Join(dir, "a")))
			write(t, dir, files{"c": "c"})
		})
		must(t, s.CreateFromTemplate("copy", "template", nil, true))
		sameTree(t, s.see(t, "copy"), s.see(t, "template"))
		changes, err := s.Changes("copy", nil, "template", nil)
		if err != nil || len(changes) != 0 {
			t.Errorf("against the template: %v, %v", changes, err)
		}
		_, err = s.Changes("copy", nil, "base", nil)
		wants(t, err, layerdiff.ErrNotParent, "another parent")
		sameNames(t, s.mountedChanges(t, "copy", "base"), "A /c", "D /a")
	})
}

func TestRemove(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		write(t, s.inner.Home.Diff("base"), files{"d/f": "f"})
		s.get(t, "child")
		must(t, s.Remove("child"))
		if s.Exists("child") {
			t.Error("it exists")
		}
		cleanup, err := s.DeferredRemove("base")
		must(t, err)
		must(t, cleanup())
		for _, dir := range []string{store.LayersDir, store.DiffDir, store.MntDir, store.TmpDir} {
			sameNames(t, readTree(t, filepath.Join(string(s.inner.Home), dir)).Names())
		}
		if name == backend.Overlay {
			for _, dir := range []string{store.ShadowDir, store.WatchDir, store.FormDir, store.WorkDir} {
				entries, err := os.ReadDir(s.inner.Home.Overlay(dir))
				if len(entries) > 0 {
					t.Errorf("overlay/%s holds %v, %v", dir, entries, err)
				}
			}
		}
		must(t, s.Remove("child"))
	})
}

func TestMetadataAndStatus(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child", "top")
		h := s.inner.Home
		for id, want := range map[string]map[string]string{
			"base": {"UpperDir": h.Diff("base"), "MergedDir": h.Diff("base"), "LowerDir": ""},
			"top":  {"UpperDir": h.Diff("top"), "MergedDir": h.Mnt("top"), "LowerDir": h.Diff("child") + ":" + h.Diff("base")},
		} {
			got, err := s.Metadata(id)
			must(t, err)
			for key, value := range want {
				if got[key] != value {
					t.Errorf("%s of %s is %q, not %q", key, id, got[key], value)
				}
			}
		}
		status := map[string]string{}
		for _, pair := range s.Status() {
			status[pair[0]] = pair[1]
		}
		if status["Root Dir"] != string(h) || status["Dirs"] != "3" || status["Backend"] != string(name) || status["Backing Filesystem"] == "" {
			t.Errorf("status: %v", status)
		}
		for key, want := range map[string]string{
			"Supports d_type": "true", "Native Overlay Diff": "true", "Using metacopy": "false",
			"Supports shifting": strconv.FormatBool(s.SupportsShifting(nil)),
		} {
			if status[key] != want {
				t.Errorf("%s: %q", key, status[key])
			}
		}
		if supported := status["Dirperm1 Supported"]; supported != "true" && supported != "false" {
			t.Errorf("status: %v", status)
		}
	})
}
