package main

// layerItem is one member of a layer's archive.
type layerItem struct {
	entry
	Source  string // File that has the contents; "": Text has them.
	Text    string
	LinkRef string // Earlier member of the same archive that this one is a hard link to.
}

// splitLayers distributes the input's paths over n layers in order, so that
// each layer gets about the same share of the bytes. It distributes directories
// like files; withParents adds the other directories that a layer needs.
//
// All names of a hard-linked file are in the layer of the first name, because
// an archive can link only to its own members.
func splitLayers(input tree, n int) [][]string {
	// A file costs a little more than its bytes, or thousands of empty files
	// would count as an empty layer.
	const perFile = 512
	weight := func(e entry) int64 {
		if e.Path == "." {
			return 0
		}
		if e.Link != "" && e.Link != e.Path {
			return perFile
		}
		return e.Size + perFile
	}
	var total int64
	for _, e := range input {
		total += weight(e)
	}
	layers := make([][]string, n)
	home := map[string]int{} // Layer of each hard-link group.
	var dealt int64
	for _, p := range input.paths() {
		if p == "." {
			continue
		}
		e := input[p]
		i := min(int(dealt*int64(n)/max(total, 1)), n-1)
		if e.Link != "" {
			if first, ok := home[e.Link]; ok {
				i = first
			}
			home[e.Link] = i
		}
		layers[i] = append(layers[i], p)
		dealt += weight(e)
	}
	return layers
}

// withParents adds, before each path, the directories above it that are not in
// the list yet. The archive needs them for their owners and modes: without them,
// unpacking would make up owners and modes.
func withParents(paths []string) []string {
	have := map[string]bool{}
	var all []string
	add := func(p string) {
		if !have[p] {
			have[p] = true
			all = append(all, p)
		}
	}
	for _, p := range paths {
		above := ancestors(p)
		for i := len(above) - 1; i >= 0; i-- {
			add(above[i])
		}
		add(p)
	}
	return all
}

// buildLayers returns the content of each of the n layers of the image: its share
// of the input, the fixtures, and whiteouts.
func buildLayers(input tree, source func(p string) string, n int, can abilities) [][]layerItem {
	layers := make([][]layerItem, n)
	shares := splitLayers(input, n)
	for i, share := range shares {
		layers[i] = append(inputItems(input, withParents(share), source), fixtures(i, n, can)...)
	}
	if p := inputToDelete(input, shares[0]); p != "" {
		layers[n-1] = append(layers[n-1], whiteout(p))
	}
	return layers
}

// inputItems converts paths of the input into archive members.
func inputItems(input tree, paths []string, source func(p string) string) []layerItem {
	items := make([]layerItem, 0, len(paths))
	for _, p := range paths {
		e := input[p]
		item := layerItem{entry: e}
		switch {
		case e.Link != "" && e.Link != p:
			item.LinkRef = e.Link
		case e.Kind == kindFile:
			item.Source = source(p)
		}
		items = append(items, item)
	}
	return items
}

// inputToDelete picks the file of the lowest layer that the topmost layer deletes.
func inputToDelete(input tree, lowest []string) string {
	for _, p := range lowest {
		if e := input[p]; e.Kind == kindFile && e.Link == "" {
			return p
		}
	}
	return ""
}
