package revoke

import (
	"fmt"
	"regexp"
	"strings"

	"irkit.dev/irkit/quarantine"
)

// Hint is what is to be done in a cloud, where irkit has no hand: commands for the cloud's
// own tool, each one line for a POSIX shell. What stands in <> a person fills in.
type Hint struct {
	Provider  string   `json:"provider"`
	Principal string   `json:"principal,omitempty"`
	Why       string   `json:"why"`
	Commands  []string `json:"commands"`
}

// The tenant wrote the annotations: only what has the form of the cloud's own names comes
// into a command line.
var (
	roleARN  = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/(?:[A-Za-z0-9+=,.@_-]+/)*([A-Za-z0-9_][A-Za-z0-9+=,.@_-]{0,63})$`)
	gsaMail  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{1,62}@([a-z0-9][a-z0-9.:-]{1,62})\.iam\.gserviceaccount\.com$`)
	clientID = regexp.MustCompile(`^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$`)
)

// Hints are what the account's cloud identities need. Pure.
func Hints(s quarantine.Scene) []Hint {
	var out []Hint
	if s.Identity == nil {
		return nil
	}
	i := s.Identity
	for _, c := range i.Cloud {
		h := Hint{Provider: c.Provider, Principal: c.Principal, Commands: []string{}}
		switch c.Provider {
		case "aws-irsa":
			h.aws(s, c)
		case "aws-pod-identity":
			h.Why = "credentials come from a pod identity association of the cluster: end it, then the sessions of its role (<ROLE> is in the answer of the first)"
			h.Commands = []string{
				fmt.Sprintf("aws eks list-pod-identity-associations --cluster-name <CLUSTER> --namespace %s --service-account %s", i.Namespace, i.Name),
				"aws eks delete-pod-identity-association --cluster-name <CLUSTER> --association-id <ID>",
				denySessions("<ROLE>", s),
			}
		case "gcp":
			h.gcp(i, c)
		case "azure":
			h.azure(c)
		}
		out = append(out, h)
	}
	return out
}

func (h *Hint) aws(s quarantine.Scene, c quarantine.CloudIdentity) {
	h.Why = "sessions of the role that were begun before now are denied; whoever holds a token of the account can begin a new one until the role's trust policy no longer names it, or the account is made anew and the token has run out"
	role := "<ROLE>"
	if m := roleARN.FindStringSubmatch(c.Principal); m != nil {
		role = m[1]
	} else if c.Principal != "" {
		h.Why = "the annotation does not read as a role's ARN, so that it is in no command: " + h.Why
	}
	h.Commands = []string{
		denySessions(role, s),
		"aws iam get-role --role-name " + role + " --query Role.AssumeRolePolicyDocument",
		"aws iam update-assume-role-policy --role-name " + role + " --policy-document file://<TRUST-POLICY-WITHOUT-THE-ACCOUNT.json>",
	}
}

// denySessions is what the IAM console writes for "revoke active sessions".
func denySessions(role string, s quarantine.Scene) string {
	at := s.Taken.UTC().Format("2006-01-02T15:04:05Z")
	return "aws iam put-role-policy --role-name " + role + ` --policy-name AWSRevokeOlderSessions --policy-document '{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":["*"],"Resource":["*"],"Condition":{"DateLessThan":{"aws:TokenIssueTime":"` + at + `"}}}]}'`
}

func (h *Hint) gcp(i *quarantine.Identity, c quarantine.CloudIdentity) {
	h.Why = "the binding lets the account act as the Google service account; access tokens that were given out live up to an hour"
	mail, project := "<GSA>", "<PROJECT>"
	if m := gsaMail.FindStringSubmatch(c.Principal); m != nil {
		mail = c.Principal
	} else if c.Principal != "" {
		h.Why = "the annotation does not read as a Google service account, so that it is in no command: " + h.Why
	}
	h.Commands = []string{
		fmt.Sprintf(`gcloud iam service-accounts remove-iam-policy-binding %s --role roles/iam.workloadIdentityUser --member "serviceAccount:%s.svc.id.goog[%s/%s]"`, mail, project, i.Namespace, i.Name),
		"gcloud iam service-accounts disable " + mail,
	}
}

func (h *Hint) azure(c quarantine.CloudIdentity) {
	h.Why = "the federated credential lets the account's tokens be traded for those of the identity; tokens that were given out live to their end, about an hour"
	id := "<CLIENT-ID>"
	if clientID.MatchString(c.Principal) {
		id = strings.ToLower(c.Principal)
	} else if c.Principal != "" {
		h.Why = "the annotation does not read as a client ID, so that it is in no command: " + h.Why
	}
	h.Commands = []string{
		"az ad sp update --id " + id + " --set accountEnabled=false",
		"az ad app federated-credential list --id " + id,
		"az ad app federated-credential delete --id " + id + " --federated-credential-id <ID>",
		`az identity list --query "[?clientId=='` + id + `'].{name:name,group:resourceGroup}"`,
	}
}
