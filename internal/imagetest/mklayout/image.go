package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/seed-642172e2/aufs/internal/imagetest/layout"
)

// A layer describes how to make one layer of the image.
type layer struct {
	by   string // for the image's history
	fill func(*stack)
}

// layers returns the layers of the image, the lowest first. The .deb files of
// the packages are in the directory debs.
func layers(debs string) []layer {
	return []layer{
		{"base", func(s *stack) {
			skeleton(s)
			ground(s)
			s.install(debs, basePackages())
		}},
		{"shell", func(s *stack) { s.install(debs, shellPackages()) }},
		{"apt", func(s *stack) { s.install(debs, aptPackages()) }},
		{"make it smaller", slim},
		{"put some of it back", restore},
		{"all that an archive can hold", odd},
		{"delete some of that", trim},
		// Builders make such a layer for a step that changes no file, and always the same one.
		{"nothing", func(*stack) {}},
		{"nothing again", func(*stack) {}},
	}
}

// layerTime returns when a layer was made, by its number. The files that
// mklayout itself puts into the layer have the same time.
func layerTime(number int) time.Time {
	const lowest, day = 1_600_000_000, 24 * 60 * 60
	return time.Unix(lowest+int64(number)*day, 0).UTC()
}

// makeLayout makes the layout out. The layout appears whole or not at all.
func makeLayout(debs, out string) error {
	unfinished := filepath.Clean(out) + ".unfinished"
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := writeLayout(unfinished, layers(debs)); err != nil {
		return errors.Join(err, os.RemoveAll(unfinished))
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	return os.Rename(unfinished, out)
}

// writeLayout makes the layout dir with an image of the layers.
func writeLayout(dir string, layers []layer) error {
	w, err := layout.Create(dir)
	if err != nil {
		return err
	}
	s := &stack{shown: shown{}}
	var history []v1.History
	var described []v1.Descriptor
	for n, l := range layers {
		created := layerTime(n)
		d, err := w.Layer(func(out io.Writer) error { return s.layer(out, created, l.fill) })
		if err != nil {
			return fmt.Errorf("layer %q: %w", l.by, err)
		}
		described = append(described, d)
		history = append(history, v1.History{Created: &created, CreatedBy: l.by})
	}
	created := layerTime(len(layers))
	history = append(history, v1.History{Created: &created, CreatedBy: "CMD sh", EmptyLayer: true})
	return w.Finish(v1.Image{
		Created:  &created,
		Platform: v1.Platform{OS: "linux", Architecture: runtime.GOARCH},
		Config: v1.ImageConfig{
			Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
			Cmd: []string{"sh"},
		},
		History: history,
	}, described)
}
