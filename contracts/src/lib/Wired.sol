// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title A role that is given once
/// @notice Two contracts name each other, so one must learn the other's address after it is deployed. Its deployer can
/// set the address once. After that nobody can.
abstract contract Wired {
    address public rewards;
    address public deployer = msg.sender;

    event RolesWired(address rewards);

    error NotDeployer(address caller);
    error ZeroRewards();

    /// @notice Set the address of AttributionRewards, once. The deployer loses the right to do so with this call.
    function wire(address rewards_) external {
        if (msg.sender != deployer) revert NotDeployer(msg.sender);
        if (rewards_ == address(0)) revert ZeroRewards();
        deployer = address(0);
        rewards = rewards_;
        emit RolesWired(rewards_);
    }
}
