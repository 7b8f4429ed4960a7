// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IGovernor} from "@openzeppelin/contracts/governance/IGovernor.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {IVotes} from "@openzeppelin/contracts/governance/utils/IVotes.sol";
import {IAttributionRewards} from "../../src/interfaces/IAttributionRewards.sol";
import {IModelRegistry} from "../../src/interfaces/IModelRegistry.sol";
import {INodeStaking} from "../../src/interfaces/INodeStaking.sol";
import {IPaymentChannels} from "../../src/interfaces/IPaymentChannels.sol";

// What the contracts offer besides their interfaces. Tests deploy compiled code and never import a contract, so the
// code under test is compiled as it is shipped, and the tests themselves quickly.

interface IWired {
    error NotDeployer(address caller);
    error ZeroRole();

    function deployer() external view returns (address);
}

interface IToken is IERC20, IERC20Permit, IVotes {
    function clock() external view returns (uint48);
    function CLOCK_MODE() external view returns (string memory);
}

interface IOpenGovernor is IGovernor {
    error FixedTarget(address target);
    error ZeroFloor();
    error BadTimes(uint48 delay, uint32 period);
    error OtherGovernor(address governor, address timelock);
    error UnbondingTooShort(uint256 unbonding, uint256 needed);

    function quorumFloor() external view returns (uint256);
    function relay(address target, uint256 value, bytes calldata data) external payable;
    function updateTimelock(address timelock) external;
    function setLateQuorumVoteExtension(uint48 extension) external;
}

interface ITimelock is IAccessControl {
    function DEFAULT_ADMIN_ROLE() external view returns (bytes32);
    function PROPOSER_ROLE() external view returns (bytes32);
    function CANCELLER_ROLE() external view returns (bytes32);
    function EXECUTOR_ROLE() external view returns (bytes32);
    function getMinDelay() external view returns (uint256);
    function updateDelay(uint256 delay) external;
    function schedule(address to, uint256 value, bytes calldata data, bytes32 before, bytes32 salt, uint256 delay)
        external;
}

interface IWrappedVotes is IToken {
    error BadReceiver(address account);

    function depositFor(address account, uint256 value) external returns (bool);
    function withdrawTo(address account, uint256 value) external returns (bool);
    function underlying() external view returns (IERC20);
    function decimals() external view returns (uint8);
}

interface IChannels is IPaymentChannels, IWired {
    function rewards() external view returns (address);
}
