package main

import (
	"fmt"
)

// startContainer mounts a container and compares it with the model.
func (r *run) startContainer() error {
	err := r.show.run("mount a container", 0, func(func(int64)) (note string, err error) {
		if r.container, err = r.store.CreateContainer("", nil, r.image, "", "", nil); err != nil {
			return "", err
		}
		r.mounted, err = r.store.Mount(r.container.ID, "")
		return "", err
	})
	if err != nil {
		return err
	}
	return r.show.run("check the image", int64(len(r.imageTree)), func(add func(int64)) (string, error) {
		mounted, err := readTree(r.mounted, add)
		if err != nil {
			return "", err
		}
		ignore := map[string]bool{".": true}
		return "as the model", report("the mounted image", "the model", compareTrees(mounted, r.imageTree, ignore))
	})
}

// editContainer makes the edits in the container and in the model.
func (r *run) editContainer() error {
	n := int64(len(r.edits))
	err := r.show.run("edit the container", n, func(add func(int64)) (string, error) {
		return count(len(r.edits), "edit"), applyEdits(r.mounted, r.edits, add)
	})
	if err != nil {
		return err
	}
	if err := r.drawContainer(); err != nil {
		return err
	}
	return r.show.run("edit the model", n, func(add func(int64)) (string, error) {
		if err := applyEdits(r.path("model"), r.edits, add); err != nil {
			return "", err
		}
		r.modelTree, err = readTree(r.path("model"), func(int64) {})
		return count(len(r.modelTree), "path"), err
	})
}

// drawContainer draws the container's stack of branches.
func (r *run) drawContainer() error {
	driver, err := r.store.GraphDriver()
	if err != nil {
		return err
	}
	metadata, err := driver.Metadata(r.container.LayerID)
	if err != nil {
		return err
	}
	branches, err := branchesOf(metadata)
	r.union = len(branches) > 0
	if err != nil || !r.union {
		return err
	}
	for i := range branches {
		branches[i].Path = r.short(branches[i].Path)
	}
	fmt.Print("\n", drawBranches("the container, at "+r.short(r.mounted), branches), "\n")
	return nil
}

// exportContainer lists the container's changes, while the container is mounted
// and again afterwards, exports the changes, and reads the container.
func (r *run) exportContainer() error {
	if err := r.listChanges("list the changes, mounted"); err != nil {
		return err
	}
	if _, err := r.store.Unmount(r.container.ID, false); err != nil {
		return err
	}
	if err := r.listChanges("list the changes, unmounted"); err != nil {
		return err
	}
	err := r.show.run("export the changes", 0, func(func(int64)) (string, error) {
		r.exported = r.path("export.tar")
		n, err := r.writeExport()
		return megabytes(n), err
	})
	if err != nil {
		return err
	}
	return r.readContainer()
}

// readContainer mounts the container again and reads it. An earlier read would hide
// errors: opening a file is enough for aufs to copy up a hard link that is still
// missing in its branch, so a driver that loses such a link at unmount or in the
// export would go unnoticed.
func (r *run) readContainer() error {
	return r.show.run("read the container", int64(len(r.modelTree)), func(add func(int64)) (string, error) {
		mounted, err := r.store.Mount(r.container.ID, "")
		if err != nil {
			return "", err
		}
		if r.mountedTree, err = readTree(mounted, add); err != nil {
			return "", err
		}
		_, err = r.store.Unmount(r.container.ID, false)
		return count(len(r.mountedTree), "path"), err
	})
}

// listChanges asks the driver for the changes and compares them with the edits.
func (r *run) listChanges(step string) error {
	return r.show.run(step, 0, func(func(int64)) (string, error) {
		changes, err := r.store.Changes("", r.container.LayerID)
		if err != nil {
			return "", err
		}
		// The file system determines whether the other name changes too.
		either := map[string]bool{lowerLinks[1]: true}
		wrong := compareChanges(changes, r.imageTree, r.modelTree, either)
		return count(len(changes), "change") + ", as made", reportLines("the list of changes is not what was done", wrong)
	})
}

// applyExport makes an image of the exported changes, mounts it and reads it.
func (r *run) applyExport() error {
	id, err := r.putTar("apply the export", r.exported, r.topLayer())
	if err != nil {
		return err
	}
	image, err := r.store.CreateImage("", nil, id, "", nil)
	if err != nil {
		return err
	}
	r.appliedImage = image.ID
	return r.show.run("read the applied image", int64(len(r.mountedTree)), func(add func(int64)) (string, error) {
		mounted, err := r.store.MountImage(image.ID, nil, "")
		if err != nil {
			return "", err
		}
		if r.appliedTree, err = readTree(mounted, add); err != nil {
			return "", err
		}
		if r.union {
			if err := checkReadOnly(mounted); err != nil {
				return "", err
			}
		}
		_, err = r.store.UnmountImage(image.ID, false)
		return count(len(r.appliedTree), "path"), err
	})
}
