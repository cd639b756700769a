//go:build linux

package drivertest

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containers/storage/pkg/system"
	"github.com/seed-642172e2/aufs/internal/core/backend"
	"github.com/seed-642172e2/aufs/internal/core/driver"
	"github.com/seed-642172e2/aufs/internal/core/fsutil"
	"github.com/seed-642172e2/aufs/internal/core/idmap"
	"github.com/seed-642172e2/aufs/internal/core/layertar"
	"golang.org/x/sys/unix"
)

// peculiar are files that a layer may have. make makes them in the directory dir.
var peculiar = []struct {
	name string
	make func(t *testing.T, dir string)
}{
	{"capabilities and attributes", func(t *testing.T, dir string) {
		write(t, dir, files{"ping": "x", "attributed": "x", "d/": ""})
		must(t, system.Lsetxattr(filepath.Join(dir, "ping"), "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
		if hasUserXattrs(t) {
			for _, path := range []string{"attributed", "d"} {
				must(t, system.Lsetxattr(filepath.Join(dir, path), "user.binary", []byte("a\x00b\n=c"), 0))
				must(t, system.Lsetxattr(filepath.Join(dir, path), "user.long", bytes.Repeat([]byte("v"), 1000), 0))
			}
		}
	}},
	{"access control lists", func(t *testing.T, dir string) {
		write(t, dir, files{"f": "f", "d/before": "x", "d/sub/": ""})
		setACL(t, filepath.Join(dir, "f"), fsutil.ACLAccess, 1000, 7)
		setACL(t, filepath.Join(dir, "d"), fsutil.ACLDefault, 1001, 5)
		// Files that are made there now inherit a list from d.
		write(t, dir, files{"d/after": "x", "d/new/": ""})
	}},
	{"devices and FIFOs", func(t *testing.T, dir string) {
		for name, mode := range map[string]uint32{"null": unix.S_IFCHR | 0o666, "disk": unix.S_IFBLK | 0o640, "fifo": unix.S_IFIFO | 0o600} {
			must(t, unix.Mknod(filepath.Join(dir, name), mode, int(unix.Mkdev(1, 3))))
		}
	}},
	{"sparse files", func(t *testing.T, dir string) {
		f, err := os.Create(filepath.Join(dir, "sparse"))
		must(t, err)
		_, err = f.WriteAt([]byte("in the middle"), 3<<20)
		must(t, errors.Join(err, f.Truncate(5<<20), f.Close()))
	}},
	{"modes and owners", func(t *testing.T, dir string) {
		write(t, dir, files{"suid": "x", "none": "x", "dir/": "", "sticky/": ""})
		for path, mode := range map[string]uint32{"suid": 0o6755, "none": 0, "dir": 0o2770, "sticky": 0o1777} {
			must(t, os.Lchown(filepath.Join(dir, path), 1000, 2_000_000_000))
			must(t, unix.Chmod(filepath.Join(dir, path), mode))
		}
	}},
	{"links", func(t *testing.T, dir string) {
		write(t, dir, files{"one": "x", "d/e/": ""})
		must(t, os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "d", "two")))
		must(t, os.Link(filepath.Join(dir, "one"), filepath.Join(dir, "d", "e", "three")))
		// Xfs takes no symbolic link of more than 1023 bytes.
		for name, target := range map[string]string{"dangling": "nowhere", "absolute": "/d/e", "up": "../../..", "long": strings.Repeat("x/", 500)} {
			must(t, os.Symlink(target, filepath.Join(dir, name)))
		}
	}},
	{"names", func(t *testing.T, dir string) {
		for _, name := range []string{
			"\xff\xfe not UTF-8", "a\nb", `back\slash`, " ", "...", "é", "-rf", "x.wh.y", "wh.", ".whx", "..wh.x", strings.Repeat("n", aufsLongestName), strings.Repeat("ü", aufsLongestName/2),
		} {
			write(t, dir, files{name: name})
			if len(name) < 200 {
				write(t, dir, files{"dir " + name + "/" + name: name})
			}
		}
	}},
	{"a long path", func(t *testing.T, dir string) {
		write(t, dir, files{strings.Repeat(strings.Repeat("p", 200)+"/", 12) + "f": "f"})
	}},
	{"times", func(t *testing.T, dir string) {
		write(t, dir, files{"past": "x", "future": "x", "dir/": ""})
		must(t, os.Symlink("x", filepath.Join(dir, "symlink")))
		for name, sec := range map[string]int64{"past": 0, "future": 1 << 33, "dir": 12345, "symlink": 54321} {
			times := []unix.Timespec{unix.NsecToTimespec(sec * 1e9), unix.NsecToTimespec(sec * 1e9)}
			must(t, unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, name), times, unix.AT_SYMLINK_NOFOLLOW))
		}
	}},
}

// aufsLongestName is how many bytes a name can have on aufs: 255 minus the room for two prefixes and a number (AUFS_MAX_NAMELEN in
// include/uapi/linux/aufs_type.h).
const aufsLongestName = 242

// TestLongestNames unpacks and archives layers with names of 255 bytes. Aufs mounts such layers, but cannot open files with these names.
func TestLongestNames(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		longest := strings.Repeat("n", 255)
		s.apply(t, "child", "base", entry{Name: "f", Content: "f"}, entry{Name: longest, Content: "x"}, entry{Name: "d/"}, entry{Name: "d/" + longest, Content: "y"})
		archived := s.diff(t, "child", "base")
		if archived[longest] == nil || archived["d/"+longest] == nil {
			t.Errorf("%q", keysOf(archived))
		}
		dir := s.get(t, "child")
		content, err := os.ReadFile(filepath.Join(dir, "f"))
		if err != nil || string(content) != "f" {
			t.Errorf("%q, %v", content, err)
		}
		content, err = os.ReadFile(filepath.Join(dir, "d", longest))
		if name == backend.Aufs && !errors.Is(err, unix.ENAMETOOLONG) || name == backend.Overlay && string(content) != "y" {
			t.Errorf("%q, %v", content, err)
		}
		must(t, s.Put("child"))
	})
}

// setACL gives the file path an access control list with an entry for the user id and one for the group id.
func setACL(t *testing.T, path, name string, id uint32, bits uint16) {
	t.Helper()
	const aclMask = 0x10
	list := layertar.NewACL()
	list = layertar.AppendACL(list, layertar.ACLUserObj, 7, layertar.ACLNoID)
	list = layertar.AppendACL(list, layertar.ACLUser, bits, id)
	list = layertar.AppendACL(list, layertar.ACLGroupObj, 5, layertar.ACLNoID)
	list = layertar.AppendACL(list, layertar.ACLGroup, bits, id)
	list = layertar.AppendACL(list, aclMask, 7, layertar.ACLNoID)
	list = layertar.AppendACL(list, layertar.ACLOther, 0, layertar.ACLNoID)
	must(t, system.Lsetxattr(path, name, list, 0))
}

// secondsTree returns readTree's tree without the root, and with the times of all files in whole seconds.
func secondsTree(t *testing.T, dir string) tree {
	t.Helper()
	tr := readTree(t, dir)
	for path, node := range tr {
		info, err := os.Lstat(filepath.Join(dir, path))
		must(t, err)
		if info.Mode().IsRegular() {
			node = strings.Replace(node, fmt.Sprint(info.ModTime().UnixNano()), "", 1)
		}
		tr[path] = fmt.Sprintf("%s at %d", node, info.ModTime().Unix())
	}
	delete(tr, ".")
	return tr
}

// TestExact takes layers with peculiar files from a container's mount to an archive, from there to another layer, and to its mount. The
// archive of the second layer equals the first archive byte for byte.
func TestExact(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		for _, p := range peculiar {
			t.Run(p.name, func(t *testing.T) {
				s := newStore(t, name)
				// Aufs handles access control lists only with this option. Overlayfs needs no option.
				options := []string{"acl"}
				s.create(t, "", "base")
				write(t, s.inner.Home.Diff("base"), files{"gone": "x", "opaque/f": "x"})
				s.create(t, "base", "child")
				s.create(t, "base", "again")
				dir := s.get(t, "child", options...)
				p.make(t, dir)
				must(t, os.Remove(filepath.Join(dir, "gone")))
				must(t, os.RemoveAll(filepath.Join(dir, "opaque")))
				write(t, dir, files{"opaque/new": "x"})
				must(t, s.Put("child"))
				s.get(t, "child", options...)
				want := secondsTree(t, dir)
				must(t, s.Put("child"))
				content := readDiff(t, s, "child", "base", nil)
				_, err := s.ApplyDiff("again", "base", driver.ApplyOptions{Diff: bytes.NewReader(content)})
				must(t, err)
				// Compare before the mount: the overlay backend converts the layer for the mount, and makes its whiteouts anew.
				if got := readDiff(t, s, "again", "base", nil); !bytes.Equal(got, content) {
					t.Errorf("the archive of the layer that was unpacked is another one:\n%q\n%q",
						keysOf(readArchive(t, bytes.NewReader(got))), keysOf(readArchive(t, bytes.NewReader(content))))
				}
				sameTree(t, secondsTree(t, s.get(t, "again", options...)), want)
				must(t, s.Put("again"))
			})
		}
	})
}

func readDiff(t *testing.T, s testStore, id, parent string, mappings *idmap.Mappings) []byte {
	t.Helper()
	r, err := s.Diff(id, mappings, parent, nil)
	must(t, err)
	content, err := io.ReadAll(r)
	must(t, errors.Join(err, r.Close()))
	return content
}

// TestACLOwners shows that access control lists in archives name the owners as the container sees them.
func TestACLOwners(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base", "child")
		s.create(t, "base", "again")
		// In the container, the owner 101,000 is 1000.
		maps := []idmap.Map{{ContainerID: 0, HostID: 100_000, Size: 65536}}
		mappings := idmapsOf(maps, maps)
		dir := s.inner.Home.Diff("child")
		write(t, dir, files{"f": "f"})
		must(t, os.Lchown(filepath.Join(dir, "f"), 100_000, 100_000))
		setACL(t, filepath.Join(dir, "f"), fsutil.ACLAccess, 101_000, 7)
		must(t, os.Link(filepath.Join(dir, "f"), filepath.Join(dir, "g")))
		content := readDiff(t, s, "child", "base", mappings)
		list := readArchive(t, bytes.NewReader(content))["f"].PAXRecords["SCHILY.xattr."+fsutil.ACLAccess]
		if !strings.Contains(list, "\xe8\x03\x00\x00") {
			t.Errorf("the archive has %q, without 1000", list)
		}
		_, err := s.ApplyDiff("again", "base", driver.ApplyOptions{Diff: bytes.NewReader(content), Mappings: mappings})
		must(t, err)
		got, err := system.Lgetxattr(filepath.Join(s.inner.Home.Diff("again"), "f"), fsutil.ACLAccess)
		must(t, err)
		want, err := system.Lgetxattr(filepath.Join(dir, "f"), fsutil.ACLAccess)
		must(t, err)
		if !bytes.Equal(got, want) {
			t.Errorf("%q, not %q", got, want)
		}
		// An archive leaves out owners whom the container does not know.
		setACL(t, filepath.Join(dir, "f"), fsutil.ACLAccess, 5, 7)
		list = readArchive(t, bytes.NewReader(readDiff(t, s, "child", "base", mappings)))["f"].PAXRecords["SCHILY.xattr."+fsutil.ACLAccess]
		if len(list) != layertar.ACLHeaderLen+4*layertar.ACLEntryLen {
			t.Errorf("the archive has %q", list)
		}
	})
}

func TestMapACL(t *testing.T) {
	same := func(id int) (int, error) { return id, nil }
	for _, bad := range []string{"", "\x02\x00\x00", "\x01\x00\x00\x00", "\x02\x00\x00\x00\x01"} {
		if _, _, err := layertar.MapACL([]byte(bad), same, same); err == nil {
			t.Errorf("%q is a list", bad)
		}
	}
	if got, left, err := layertar.MapACL(layertar.ACLOfMode(fs.FileMode(0o754)), same, same); err != nil || left != 0 || !bytes.Equal(got, layertar.ACLOfMode(0o754)) {
		t.Errorf("%q, %d, %v", got, left, err)
	}
	unknown := layertar.AppendACL(layertar.NewACL(), layertar.ACLUser, 7, layertar.ACLNoID)
	if got, left, err := layertar.MapACL(unknown, same, same); err != nil || left != 1 || !bytes.Equal(got, layertar.NewACL()) {
		t.Errorf("%q, %d, %v", got, left, err)
	}
}

// TestStoreInheritsACL has the store below a directory with a default access control list, which must not get into layers.
func TestStoreInheritsACL(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		above := t.TempDir()
		setACL(t, above, fsutil.ACLDefault, 1000, 7)
		s := openStore(t, filepath.Join(above, "home"), name)
		s.create(t, "", "base", "child", "applied")
		s.change(t, "child", func(dir string) { write(t, dir, files{"f": "f", "d/g": "g"}) })
		s.apply(t, "applied", "child", entry{Name: "h", Content: "h"})
		must(t, s.CleanupStagingDirectory(s.stage(t, filling{})))
		for _, id := range []string{"base", "child", "applied"} {
			for path, node := range readTree(t, s.inner.Home.Diff(id)) {
				if strings.Contains(node, fsutil.ACLPrefix) {
					t.Errorf("layer %s: %s is %s", id, path, node)
				}
			}
		}
	})
}

// TestListsOfTheRoot unpacks an archive into an empty layer whose root has access control lists. The root keeps its lists, and the files
// get none of them.
func TestListsOfTheRoot(t *testing.T) {
	ids := []idmap.Map{{ContainerID: 0, HostID: 100000, Size: 65536}}
	mappings := idmapsOf(ids, ids)
	for _, other := range []string{"f", ".wh.f"} {
		forEachBackend(t, func(t *testing.T, name backend.Name) {
			s := newStore(t, name)
			must(t, s.Create("base", "", &driver.CreateOptions{IDMappings: mappings}))
			root := s.inner.Home.Diff("base")
			before := map[string][]byte{}
			for _, attr := range []string{fsutil.ACLAccess, fsutil.ACLDefault} {
				setACL(t, root, attr, 100005, 6)
				list, err := system.Lgetxattr(root, attr)
				must(t, err)
				before[attr] = list
			}
			_, err := s.ApplyDiff("base", "", driver.ApplyOptions{
				Diff: archiveOf(t, entry{Name: "g", Content: "g"}, entry{Name: other}), Mappings: mappings,
			})
			must(t, err)
			for attr, want := range before {
				if list, err := system.Lgetxattr(root, attr); err != nil || !bytes.Equal(list, want) {
					t.Errorf("%s of the root is %x, %v, and was %x", attr, list, err, want)
				}
				if list, err := system.Lgetxattr(filepath.Join(root, "g"), attr); err != nil || list != nil {
					t.Errorf("%s of a file is %x, %v", attr, list, err)
				}
			}
		})
	}
}

// TestAttributesOfWhiteouts applies an archive whose whiteout has attributes. The driver drops overlayfs's attributes, and maps the
// owners in the access control list.
func TestAttributesOfWhiteouts(t *testing.T) {
	forEachBackend(t, func(t *testing.T, name backend.Name) {
		s := newStore(t, name)
		s.create(t, "", "base")
		s.create(t, "base", "top")
		list := layertar.AppendACL(layertar.NewACL(), layertar.ACLUserObj, 6, layertar.ACLNoID)
		for _, e := range [][3]uint32{{layertar.ACLUser, 4, 7}, {layertar.ACLGroupObj, 4, layertar.ACLNoID}, {0x10, 4, layertar.ACLNoID}, {layertar.ACLOther, 4, layertar.ACLNoID}} {
			list = layertar.AppendACL(list, uint16(e[0]), uint16(e[1]), e[2])
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		must(t, w.WriteHeader(&tar.Header{
			Name: ".wh.x", Typeflag: tar.TypeReg, Mode: 0o444, Format: tar.FormatPAX, PAXRecords: map[string]string{
				layertar.PaxXattr + "user.overlay.opaque": "y", layertar.PaxXattr + fsutil.ACLAccess: string(list),
			},
		}))
		must(t, w.Close())
		changed := []idmap.Map{{ContainerID: 0, HostID: 100000, Size: 65536}}
		_, err := s.ApplyDiff("top", "base", driver.ApplyOptions{Diff: &b, Mappings: idmapsOf(changed, changed)})
		must(t, err)
		path := filepath.Join(s.inner.Home.Diff("top"), ".wh.x")
		names, err := system.Llistxattr(path)
		must(t, err)
		// Xfs also shows the list under a name of its own.
		names = slices.DeleteFunc(names, func(name string) bool { return name == "trusted.SGI_ACL_FILE" })
		sameNames(t, names, fsutil.ACLAccess)
		list, err = system.Lgetxattr(path, fsutil.ACLAccess)
		must(t, err)
		if owner := binary.LittleEndian.Uint32(list[layertar.ACLHeaderLen+layertar.ACLEntryLen+4:]); owner != 100007 {
			t.Errorf("the list is about %d", owner)
		}
	})
}
