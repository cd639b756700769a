//go:build linux

package differential

import graphdriver "go.podman.io/storage/drivers"

func (f faulty) ApplyDiff(id string, options graphdriver.ApplyDiffOpts) (int64, error) {
	options, err := f.filtered(options)
	if err != nil {
		return 0, err
	}
	return f.Driver.ApplyDiff(id, options)
}
