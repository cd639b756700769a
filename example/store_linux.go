package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
)

// absolute returns the path in the form of /proc/self/mountinfo.
func absolute(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// openStore opens a store in root with the driver that the options name.
func openStore(root string, opts options) (storage.Store, error) {
	so := storage.StoreOptions{
		GraphRoot:       filepath.Join(root, "store"),
		RunRoot:         filepath.Join(root, "run"),
		GraphDriverName: opts.driver,
	}
	if opts.driver == "aufs" {
		so.GraphDriverOptions = []string{"aufs.backend=" + opts.backend}
	}
	return storage.GetStore(so)
}

// statusOf returns the value of a key in the driver's status, or "".
func statusOf(store storage.Store, key string) (string, error) {
	status, err := store.Status()
	if err != nil {
		return "", err
	}
	for _, pair := range status {
		if pair[0] == key {
			return pair[1], nil
		}
	}
	return "", nil
}

// export returns the changes of a container's layer as an uncompressed archive.
func export(store storage.Store, layer string) (io.ReadCloser, error) {
	uncompressed := archive.Uncompressed
	return store.Diff("", layer, &storage.DiffOptions{Compression: &uncompressed})
}

// deleteAll deletes the container and the images, which deletes their layers,
// and checks that the store has no layers left.
func deleteAll(store storage.Store, container string, images ...string) error {
	if err := store.DeleteContainer(container); err != nil {
		return err
	}
	for _, image := range images {
		if _, err := store.DeleteImage(image, true); err != nil {
			return fmt.Errorf("image %s: %w", image, err)
		}
	}
	layers, err := store.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		err = errors.Join(err, fmt.Errorf("layer %s is left", layer.ID))
	}
	return err
}

// shutdown closes the store, after which nothing of it is mounted. It returns
// an error if a layer is still mounted.
func shutdown(store storage.Store) error {
	layers, err := store.Shutdown(false)
	if err != nil {
		return fmt.Errorf("still mounted: [%s]: %w", strings.Join(layers, " "), err)
	}
	store.Free()
	return nil
}

// forceShutdown unmounts everything that is mounted and closes the store.
func forceShutdown(store storage.Store) error {
	// The first call unmounts the layers, but returns an error because they
	// were mounted, and does not shut down the driver.
	if _, err := store.Shutdown(true); err == nil {
		store.Free()
		return nil
	}
	return shutdown(store)
}
