// Package removal removes layers from a store, and also what interrupted operations have left there.
package removal
