//go:build linux

package imagetest

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/containers/storage"

	"github.com/seed-642172e2/aufs/internal/imagetest/layout"
	"github.com/seed-642172e2/aufs/internal/vmtest/wire"
)

// The names of images in stores.
const (
	imageName     = "localhost/image:latest"
	committedName = "localhost/committed:latest"
)

// replacedDir is a directory that a layer both deletes and adds. The library's
// overlay driver forgets the deletion, and also shows the content of the layers
// below.
const replacedDir = "etc/dpkg"

// TestRoundTrip copies an image into a store and out again, runs programs in a
// container of it, commits the container, and checks that another driver shows
// the same.
func TestRoundTrip(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounting takes root")
	}
	image, err := layout.Open(givenImage(t))
	must(t, err)
	must(t, image.Verify())
	noHostConfig(t)
	for _, backend := range backends(t) {
		t.Run(backend, func(t *testing.T) { newTrip(t, backend, image).run(t) })
	}
}

// noHostConfig keeps the storage library from reading the host's configuration.
func noHostConfig(t *testing.T) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "storage.conf")
	// The library warns about a configuration that names no driver.
	must(t, os.WriteFile(conf, []byte("[storage]\ndriver = \"aufs\"\n"), 0o600))
	t.Setenv("CONTAINERS_STORAGE_CONF", conf)
}

// A trip is a round trip on one backend.
type trip struct {
	backend string
	dir     string        // everything that the test makes
	image   *layout.Image // the original
	store   storage.Store

	container *storage.Container // of the image
	shown     tree               // what the container showed at the end
	changes   []string           // the changes in an archive made while the container was mounted
	committed *layout.Image      // the image committed from the container
}

func newTrip(t *testing.T, backend string, image *layout.Image) *trip {
	t.Helper()
	dir := t.TempDir()
	return &trip{backend: backend, dir: dir, image: image, store: openStore(t, filepath.Join(dir, "store"), backend)}
}

// path returns the path of a file that the test makes.
func (tr *trip) path(name string) string { return filepath.Join(tr.dir, name) }

// run does the steps. Each builds on the previous ones.
func (tr *trip) run(t *testing.T) {
	for _, step := range []struct {
		name string
		do   func(*testing.T)
	}{
		{"copy in", tr.copyIn},
		{"copy out", tr.copyOut},
		{"container", tr.useContainer},
		{"edits", tr.editContainer},
		{"commit", tr.commit},
		{"other driver", tr.compareDrivers},
		{"delete", tr.delete},
	} {
		if !t.Run(step.name, step.do) {
			t.FailNow()
		}
	}
}

func (tr *trip) copyIn(t *testing.T) {
	const leastLayers = 5
	if n := len(tr.image.Manifest.Layers); n < leastLayers {
		t.Errorf("the image has only %d layers", n)
	}
	copyImage(t, inStore(t, tr.store, imageName), inLayout(t, tr.image.Dir()))
	layers, err := tr.store.Layers()
	must(t, err)
	if got, want := len(layers), len(tr.image.Manifest.Layers); got != want {
		t.Errorf("the store has %d layers of an image of %d", got, want)
	}
}

func (tr *trip) copyOut(t *testing.T) {
	sameCopy(t, tr.store, imageName, tr.image, tr.path("copied-out"))
	byteForByte(t, tr.store)
}

func (tr *trip) useContainer(t *testing.T) {
	model := tr.path("model")
	n := unpackImage(t, tr.image, model)
	const leastFiles = 500
	if n.files < leastFiles || n.whiteouts == 0 || n.opaque == 0 || n.links == 0 || n.attributes == 0 || n.nodes == 0 {
		t.Errorf("the image has too little in it: %+v", n)
	}
	tr.container = container(t, tr.store, imageName)
	root := mount(t, tr.store, tr.container)
	sameTree(t, "the container", readTree(t, root), readTree(t, model))
	tr.runApt(t, root)
	unmount(t, tr.store, tr.container)
}

// editContainer makes the same changes in the container and in the model. It
// leaves the container in the state to commit.
func (tr *trip) editContainer(t *testing.T) {
	if tr.backend == "aufs" {
		// aufs logs this when it refuses to rename a directory of several
		// layers, so that mv has to copy it.
		t.Cleanup(wire.ExpectMessages("renaming dir who has child(ren) on multiple branches"))
	}
	model := tr.path("model")
	start := time.Now()
	root := mount(t, tr.store, tr.container)
	tr.edit(t, edits, root, model)
	want := tr.edited(readTree(t, model).since(start))
	sameTree(t, "the container after the edits", tr.edited(readTree(t, root).since(start)), want)
	unmount(t, tr.store, tr.container)

	root = mount(t, tr.store, tr.container)
	sameTree(t, "the container, mounted again", tr.edited(readTree(t, root).since(start)), want)
	if tr.backend == "overlay" {
		// Overlayfs copies one name up, and the other names keep the old content.
		splitLink(t, filepath.Join(model, linkedFile))
	}
	tr.edit(t, editLinked, root, model)
	tr.shown = readTree(t, root)
	want = tr.edited(readTree(t, model).since(start))
	sameTree(t, "the container after one edit more", tr.edited(tr.shown.since(start)), want)
	tr.changes = members(t, diff(t, tr.store, tr.container))
	unmount(t, tr.store, tr.container)
}

// edit runs a shell script in trees.
func (tr *trip) edit(t *testing.T, script string, roots ...string) {
	t.Helper()
	for _, root := range roots {
		chroot(t, root, tr.env(), "/bin/sh", "-euc", script)
	}
}

// runApt runs a program that loads many libraries.
func (tr *trip) runApt(t *testing.T, root string) {
	t.Helper()
	said := chroot(t, root, tr.env(), "/usr/bin/apt-get", "--version")
	if !regexp.MustCompile(`^apt \d\S+ \(\w+\)\n`).MatchString(said) {
		t.Errorf("apt-get --version says %q", said)
	}
}

// env returns the environment that the image sets for programs.
func (tr *trip) env() []string { return tr.image.Config.Config.Env }

// edited returns the part of a tree that can be compared after edits: a
// directory that aufs copies up, because of something below it, has a new time.
func (tr *trip) edited(seen tree) tree {
	if tr.backend == "aufs" {
		return seen.withoutDirTimes()
	}
	return seen
}

func (tr *trip) commit(t *testing.T) {
	dir := tr.path("committed")
	commit(t, tr.store, tr.container, tr.image, dir)
	var err error
	tr.committed, err = layout.Open(dir)
	must(t, err)
	layers := tr.committed.Manifest.Layers
	top, err := tr.committed.Blob(layers[len(layers)-1].Digest)
	must(t, err)
	sameLines(t, "the archive of the changes", members(t, top), tr.changes)
	copyImage(t, inStore(t, tr.store, committedName), inLayout(t, dir))
	sameCopy(t, tr.store, committedName, tr.committed, tr.path("committed-out"))

	c := container(t, tr.store, committedName)
	root := mount(t, tr.store, c)
	sameTree(t, "a container of the committed one", tr.edited(readTree(t, root)), tr.edited(tr.shown))
	unmount(t, tr.store, c)
}

// compareDrivers compares with a driver of the storage library: overlay or, if that does not work, vfs.
func (tr *trip) compareDrivers(t *testing.T) {
	other := openOther(t, tr.path("other"))
	copyImage(t, inStore(t, other, committedName), inStore(t, tr.store, committedName))
	ours, theirs := container(t, tr.store, committedName), container(t, other, committedName)
	root := mount(t, other, theirs)
	// vfs treats the root directory in a layer like any other. Other drivers
	// leave theirs as they made it.
	alike := func(seen tree) tree { return seen.without(replacedDir).withoutRootMode() }
	sameTree(t, "the container", alike(readTree(t, mount(t, tr.store, ours))), alike(readTree(t, root)))
	tr.runApt(t, root)
	unmount(t, tr.store, ours)
	unmount(t, other, theirs)
	empty(t, other)
}

func (tr *trip) delete(t *testing.T) {
	empty(t, tr.store)
	noMounts(t, tr.dir)
	noLayers(t, filepath.Join(tr.path("store"), "graph", "aufs"))
}
