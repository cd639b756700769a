package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// makeImage makes the layers' archives and puts them into the store, one on top of the other.
func (r *run) makeImage() error {
	source := func(p string) string { return filepath.Join(r.source, p) }
	layers := buildLayers(r.input, source, r.opts.layers, r.can)
	total := 0
	for _, items := range layers {
		total += len(items)
	}
	err := r.show.run("write the layers' archives", int64(total), func(add func(int64)) (string, error) {
		return count(total, "member"), r.writeTars(layers, add)
	})
	if err != nil {
		return err
	}
	for i, name := range r.tars {
		if err := r.putLayer(fmt.Sprintf("put layer %d of %d", i+1, len(r.tars)), name); err != nil {
			return err
		}
	}
	if err := r.readBack(); err != nil {
		return err
	}
	image, err := r.store.CreateImage("", nil, r.topLayer(), "", nil)
	if err != nil {
		return err
	}
	r.image = image.ID
	return nil
}

// writeTars writes one archive for each layer.
func (r *run) writeTars(layers [][]layerItem, add func(int64)) error {
	for i, items := range layers {
		name := r.path(fmt.Sprintf("layer-%d.tar", i+1))
		f, err := os.Create(name)
		if err != nil {
			return err
		}
		if err := errors.Join(writeLayer(f, items, add), f.Close()); err != nil {
			return err
		}
		r.tars = append(r.tars, name)
	}
	return nil
}

// putLayer makes a layer from an archive, on top of the last layer.
func (r *run) putLayer(step, name string) error {
	layer, err := r.putTar(step, name, r.topLayer())
	if err == nil {
		r.layers = append(r.layers, layer)
	}
	return err
}

// putTar makes a layer from an archive and returns the layer's ID.
func (r *run) putTar(step, name, parent string) (id string, err error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return "", err
	}
	err = r.show.run(step, fi.Size(), func(add func(int64)) (string, error) {
		layer, _, err := r.store.PutLayer("", parent, nil, "", false, nil, &countingReader{f, add})
		if err != nil {
			return "", err
		}
		id = layer.ID
		return megabytes(fi.Size()), nil
	})
	return id, err
}

// readBack exports each layer of the image again. The export must equal the
// original archive, byte for byte, or the image's digests would no longer be
// correct.
func (r *run) readBack() error {
	return r.show.run("read the layers back", 0, func(add func(int64)) (string, error) {
		for i, layer := range r.layers {
			want, err := sumFile(r.tars[i])
			if err != nil {
				return "", err
			}
			got, err := sumLayer(r.store, layer, add)
			if err != nil {
				return "", err
			}
			if got != want {
				return "", fmt.Errorf("layer %d comes back with other bytes than it was made of: sha256 %x, was %x", i+1, got, want)
			}
		}
		return "byte for byte as put", nil
	})
}

// makeModel unpacks the same archives into a plain directory.
func (r *run) makeModel() error {
	model := r.path("model")
	if err := os.Mkdir(model, 0o755); err != nil {
		return err
	}
	return r.show.run("unpack the model", 0, func(add func(int64)) (string, error) {
		for _, name := range r.tars {
			if err := unpackFile(model, name, add); err != nil {
				return "", err
			}
		}
		var err error
		r.imageTree, err = readTree(model, add)
		r.edits = planEdits(r.imageTree, r.can)
		return count(len(r.imageTree), "path"), err
	})
}

// topLayer returns the ID of the topmost layer of the image so far, or "".
func (r *run) topLayer() string {
	if len(r.layers) == 0 {
		return ""
	}
	return r.layers[len(r.layers)-1]
}
