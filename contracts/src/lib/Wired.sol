// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title Roles that are given once
/// @notice Two contracts name each other, so one must learn the other's address after it is deployed. Its deployer can
/// set the roles once. After that nobody can.
abstract contract Wired {
    address public deployer = msg.sender;

    error NotDeployer(address caller);
    error ZeroRole();

    /// @dev The deployer loses the right with this call.
    modifier once() {
        if (msg.sender != deployer) revert NotDeployer(msg.sender);
        deployer = address(0);
        _;
    }

    function _checkRole(address role) internal pure {
        if (role == address(0)) revert ZeroRole();
    }
}
