// Package ecs is where a client of one of Amazon's services would be: see ../ec2.
package ecs

import (
	"context"
	"errors"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

var errAbsent = errors.New("this Traefik is built without Amazon's services")

// Client would ask the service.
type Client struct{}

// NewFromConfig makes one.
func NewFromConfig(any) *Client { return &Client{} }

// DescribeTasksInput names tasks.
type DescribeTasksInput struct {
	Cluster *string
	Tasks   []string
}

// DescribeTasksOutput has what is known of them.
type DescribeTasksOutput struct {
	Tasks []types.Task
}

// DescribeTasks refuses.
func (*Client) DescribeTasks(context.Context, *DescribeTasksInput) (*DescribeTasksOutput, error) {
	return nil, errAbsent
}

// DescribeContainerInstancesInput names instances.
type DescribeContainerInstancesInput struct {
	Cluster            *string
	ContainerInstances []string
}

// DescribeContainerInstancesOutput has what is known of them.
type DescribeContainerInstancesOutput struct {
	ContainerInstances []types.ContainerInstance
}

// DescribeContainerInstances refuses.
func (*Client) DescribeContainerInstances(
	context.Context, *DescribeContainerInstancesInput,
) (*DescribeContainerInstancesOutput, error) {
	return nil, errAbsent
}

// DescribeTaskDefinitionInput names a definition.
type DescribeTaskDefinitionInput struct {
	TaskDefinition *string
}

// DescribeTaskDefinitionOutput has it.
type DescribeTaskDefinitionOutput struct {
	TaskDefinition *types.TaskDefinition
}

// DescribeTaskDefinition refuses.
func (*Client) DescribeTaskDefinition(
	context.Context, *DescribeTaskDefinitionInput,
) (*DescribeTaskDefinitionOutput, error) {
	return nil, errAbsent
}

// ListClustersInput asks for all.
type ListClustersInput struct{}

// ListClustersOutput has them.
type ListClustersOutput struct {
	ClusterArns []string
}

// ListTasksInput says which tasks.
type ListTasksInput struct {
	Cluster       *string
	DesiredStatus types.DesiredStatus
}

// ListTasksOutput has them.
type ListTasksOutput struct {
	TaskArns []string
}

// NoPages is a list of nothing.
type NoPages[T any] struct{}

// HasMorePages says no.
func (*NoPages[T]) HasMorePages() bool { return false }

// NextPage refuses.
func (*NoPages[T]) NextPage(context.Context) (*T, error) { return nil, errAbsent }

// NewListClustersPaginator makes one.
func NewListClustersPaginator(*Client, *ListClustersInput) *NoPages[ListClustersOutput] {
	return &NoPages[ListClustersOutput]{}
}

// NewListTasksPaginator makes one.
func NewListTasksPaginator(*Client, *ListTasksInput) *NoPages[ListTasksOutput] {
	return &NoPages[ListTasksOutput]{}
}
