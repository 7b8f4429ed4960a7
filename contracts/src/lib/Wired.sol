// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A role that is given once
/// @notice Two contracts name each other, so one must be told after it is deployed. Its deployer can do that once, and from
/// then on nobody can do anything.
abstract contract Wired {
    address public rewards;
    address public deployer = msg.sender;

    event RolesWired(address rewards);

    error NotDeployer(address caller);
    error ZeroRewards();

    /// @notice Name AttributionRewards, once; the power to do so is gone with it.
    function wire(address rewards_) external {
        if (msg.sender != deployer) revert NotDeployer(msg.sender);
        if (rewards_ == address(0)) revert ZeroRewards();
        deployer = address(0);
        rewards = rewards_;
        emit RolesWired(rewards_);
    }
}
