// Package ec2 is where a client of one of Amazon's services would be, for a provider of Traefik that the
// lab does not use. The real ones are the most expensive packages of all to compile. This one and its
// neighbours hold the names that Traefik's own code mentions, and find nothing.
package ec2

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Client would ask the service.
type Client struct{}

// NewFromConfig makes one.
func NewFromConfig(any) *Client { return &Client{} }

// DescribeInstancesInput names instances.
type DescribeInstancesInput struct {
	InstanceIds []string
}

// DescribeInstancesOutput has what is known of them.
type DescribeInstancesOutput struct {
	Reservations []types.Reservation
}

// DescribeInstancesPaginator has no pages.
type DescribeInstancesPaginator struct{}

// NewDescribeInstancesPaginator makes one.
func NewDescribeInstancesPaginator(*Client, *DescribeInstancesInput) *DescribeInstancesPaginator {
	return &DescribeInstancesPaginator{}
}

// HasMorePages says no.
func (*DescribeInstancesPaginator) HasMorePages() bool { return false }

// NextPage refuses.
func (*DescribeInstancesPaginator) NextPage(context.Context) (*DescribeInstancesOutput, error) {
	return nil, errors.New("this Traefik is built without Amazon's services")
}
