# A role and its association, as Terraform's AWS provider makes them.
terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.100"
    }
  }
}

variable "trust_policy" { type = string }
variable "role_name" { type = string }

provider "aws" {
  skip_region_validation = true
}

data "aws_eks_cluster" "local" {
  name = "local"
}

resource "aws_iam_role" "cart" {
  name               = var.role_name
  assume_role_policy = var.trust_policy
  tags               = { team = "shop" }
}

resource "aws_iam_role_policy" "cart" {
  name   = "files"
  role   = aws_iam_role.cart.name
  policy = jsonencode({ Version = "2012-10-17", Statement = [{ Effect = "Allow", Action = "s3:ListAllMyBuckets", Resource = "*" }] })
}

resource "aws_eks_pod_identity_association" "cart" {
  cluster_name    = data.aws_eks_cluster.local.name
  namespace       = "shop"
  service_account = "cart"
  role_arn        = aws_iam_role.cart.arn
  tags            = { team = "shop" }
}

output "association" { value = aws_eks_pod_identity_association.cart.association_id }
