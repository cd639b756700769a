package main

import (
	"path"

	"github.com/containers/storage/pkg/archive"
)

// fixtureDir holds the files that the program adds to the input, because few
// real trees have a device, a setuid file and a hard link.
const fixtureDir = "driver-example"

// fixtureTime is the modification time of all fixtures.
const fixtureTime = 1_600_000_000

// abilities are the features that the driver and the file system under the store
// support. The program leaves out everything else.
type abilities struct {
	UserXattr  bool // user.* attributes.
	Capability bool // The security.capability attribute.
	Device     bool // Device nodes.

	// DirOverFile is a container's directory, with a file in it, in place of a file
	// of the image. The library's overlay driver cannot list such a change: it
	// looks for the new file below the old file and takes ENOTDIR for a failure.
	DirOverFile bool
}

// capNetRaw is a security.capability value: version 2, effective, CAP_NET_RAW
// permitted. It is a struct vfs_cap_data as in linux/capability.h.
const capNetRaw = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"

// devNull is the device number of /dev/null, 1:3.
const devNull = 0x103

// lowerLinks are two names of one file in the lowest layer. The container writes
// to the file through the first name. Overlayfs breaks such a link when it
// copies the file up; aufs keeps it.
var lowerLinks = [2]string{fixtureDir + "/linked/by-a", fixtureDir + "/linked/by-b"}

// fixtures returns the content of layer i of n besides its share of the input.
// The second layer deletes files of the first and replaces a directory. The last
// layer brings back names that the second layer deleted, as something else.
func fixtures(i, n int, can abilities) []layerItem {
	var items []layerItem
	if i == 0 {
		items = append(items, lowestFixtures()...)
		items = append(items, specialFixtures(can)...)
		items = append(items, editFixtures()...)
	}
	if i == 1 {
		items = append(items, upperFixtures()...)
	}
	if i == n-1 && i > 1 {
		items = append(items, returningFixtures()...)
	}
	return items
}

// lowestFixtures returns the plain files of the lowest layer, and the files
// that the second layer deletes.
func lowestFixtures() []layerItem {
	return []layerItem{
		dir(""), text("plain", "plain\n"), symlink("symlink", "plain"), symlink("dangling", "/no/such/file"),
		dir("linked"),
		text("linked/kept-a", "two names\n"), hardlink("linked/kept-b", "linked/kept-a"),
		text("linked/by-a", "two names, written to\n"), hardlink("linked/by-b", "linked/by-a"),
		text("gone", "deleted by the second layer\n"),
		dir("gone-dir"), text("gone-dir/x", "x\n"), dir("gone-dir/y"), text("gone-dir/y/z", "z\n"),
		text("turned", "a file, then nothing, then a directory\n"),
		dir("replaced"), text("replaced/old", "old\n"), text("replaced/both", "below\n"),
		dir("replaced/deep"), text("replaced/deep/file", "deep\n"),
	}
}

// specialFixtures returns files of kinds that not every file system can hold.
func specialFixtures(can abilities) []layerItem {
	setuid := text("setuid", "#!/bin/false\n")
	setuid.Mode = 0o4755
	setgid := dir("setgid-dir")
	setgid.Mode = 0o2775
	owned := text("owned", "not root's\n")
	owned.UID, owned.GID = 1000, 2000
	items := []layerItem{setuid, setgid, owned, special("fifo", kindFifo, 0)}
	if can.Device {
		items = append(items, special("null", kindChar, devNull))
	}
	if can.UserXattr {
		items = append(items, attribute("with-xattr", "user.example", "from the image"))
	}
	if can.Capability {
		items = append(items, attribute("with-capability", "security.capability", capNetRaw))
	}
	return items
}

// editFixtures returns the files that the container's edits need; see fixtureEdits.
func editFixtures() []layerItem {
	items := []layerItem{dir("edit")}
	for _, name := range []string{"append", "overwrite", "chmod", "chown", "remove", "rename", "link", "xattr", "touch", "to-dir"} {
		items = append(items, text("edit/"+name, name+", as it was in the image\n"))
	}
	return append(
		items,
		dir("edit/chmod-dir"),
		dir("edit/remove-dir"), text("edit/remove-dir/a", "a\n"), dir("edit/remove-dir/b"), text("edit/remove-dir/b/c", "c\n"),
		dir("edit/replace-dir"), text("edit/replace-dir/old", "old\n"), text("edit/replace-dir/both", "below\n"),
		dir("edit/replace-dir/deep"), text("edit/replace-dir/deep/file", "deep\n"),
		dir("edit/to-symlink"), text("edit/to-symlink/file", "hidden by a symlink\n"),
	)
}

// upperFixtures returns the second layer: whiteouts, and an opaque directory in
// place of a directory of the lowest layer.
func upperFixtures() []layerItem {
	return []layerItem{
		dir(""),
		whiteout(path.Join(fixtureDir, "gone")),
		whiteout(path.Join(fixtureDir, "gone-dir")),
		whiteout(path.Join(fixtureDir, "turned")),
		dir("replaced"), text("replaced/"+archive.WhiteoutOpaqueDir, ""),
		text("replaced/both", "above\n"), text("replaced/new", "new\n"),
		dir("edit"), text("edit/second-layer", "from the second layer\n"),
	}
}

// returningFixtures returns members that bring back two names that the second layer deleted.
func returningFixtures() []layerItem {
	return []layerItem{
		dir(""), text("gone", "back again\n"),
		dir("turned"), text("turned/file", "in the directory\n"),
	}
}

// fixture returns a member below fixtureDir that root owns.
func fixture(name string, k kind, mode uint32) layerItem {
	return layerItem{entry: entry{Path: path.Join(fixtureDir, name), Kind: k, Mode: mode, Mtime: fixtureTime}}
}

func dir(name string) layerItem {
	return fixture(name, kindDir, 0o755)
}

func text(name, content string) layerItem {
	item := fixture(name, kindFile, 0o644)
	item.Text, item.Size = content, int64(len(content))
	return item
}

func symlink(name, target string) layerItem {
	item := fixture(name, kindSymlink, 0o777)
	item.Target = target
	return item
}

func hardlink(name, first string) layerItem {
	item := fixture(name, kindFile, 0o644)
	item.LinkRef = path.Join(fixtureDir, first)
	return item
}

func special(name string, k kind, rdev uint64) layerItem {
	item := fixture(name, k, 0o600)
	item.Rdev = rdev
	return item
}

func attribute(name, key, value string) layerItem {
	item := text(name, "has "+key+"\n")
	item.Xattrs = map[string]string{key: value}
	return item
}

// whiteout returns the member that deletes p, a path of the image.
func whiteout(p string) layerItem {
	name := path.Join(path.Dir(p), archive.WhiteoutPrefix+path.Base(p))
	return layerItem{entry: entry{Path: name, Kind: kindFile, Mode: 0o600, Mtime: fixtureTime}}
}
