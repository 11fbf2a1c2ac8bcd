package playbooks

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"irkit.dev/irkit/evidence"
)

// UnknownPurposeError says that rights were asked for something that irkit does not do.
type UnknownPurposeError struct {
	Purpose string
	Known   []string
}

// Error implements error.
func (e *UnknownPurposeError) Error() string {
	return fmt.Sprintf("rights for %q: want one of %s", e.Purpose, strings.Join(e.Known, ", "))
}

// RulesFor are the permissions that several purposes need together; each purpose is the
// name of a playbook in sources. An unknown one is an UnknownPurposeError.
func RulesFor(purposes []string, kinds []Kind, sources map[string][]byte) ([]evidence.Rule, error) {
	var rules []evidence.Rule
	if len(purposes) == 0 {
		return nil, &UnknownPurposeError{Known: slices.Sorted(maps.Keys(sources))}
	}
	for _, name := range purposes {
		source, known := sources[name]
		if !known {
			return nil, &UnknownPurposeError{name, slices.Sorted(maps.Keys(sources))}
		}
		plan, err := Compile("builtin/"+name+".yaml", source, kinds)
		if err != nil {
			return nil, err
		}
		rules = append(rules, new(Engine).AllRules(plan)...)
	}
	return rules, nil
}
